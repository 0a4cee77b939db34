"""The fields that each consumer needs of its messages, read from its handlers, and whether the producer sends them.

A consumer needs the fields that its class of the message requires, and those that its handler reads: fields that the
handler names, that `rows(…)` names, and that functions read which the handler passes the message to. A handler that
dumps a message reads all fields. `isinstance` is not followed: message types with different fields need a handler each.
"""

import ast
import builtins
import inspect
from collections.abc import Callable, Iterator, Mapping
from textwrap import dedent
from typing import Any

from pydantic import BaseModel

from chassis.message import Message
from chassis.messaging.subscriptions import MessageHandler
from chassis.service import Service
from tools.compatibility import Kind, Schema, gaps

READ_NO_FIELD = (type, isinstance)


def unmet_needs(services: Mapping[str, Service], produced: Mapping[str, Schema]) -> Iterator[str]:
    """Consumer, contract and field, where the produced messages do not have what the consumer needs."""
    for consumer, service in sorted(services.items()):
        for wire_type, subscription in sorted(service.subscriptions.by_type.items()):
            if (written := produced.get(wire_type)) is None:
                yield f"{consumer} subscribes to {wire_type}, and there is no such contract"
                continue
            for gap in gaps(written=written, read=subscription.type.model_json_schema()):
                if gap.kind is Kind.MISSING:
                    yield f"{consumer} needs {gap.field} of {wire_type}, which messages may lack"
                elif gap.kind is Kind.UNFIT:
                    yield f"{consumer} does not accept {gap.field} of {wire_type}: {gap.detail}"
            for field in sorted(fields_read(subscription) - written["properties"].keys()):
                yield f"{consumer} reads {field} of {wire_type}, which has no such field"


def fields_read(subscription: MessageHandler) -> set[str]:
    """The fields of the message that the handler and its `needs` read."""
    found = {needed.source for needed in subscription.needs if isinstance(needed.source, str)}
    functions = [needed.source for needed in subscription.needs if not isinstance(needed.source, str)]
    for function in (subscription.handler, *functions):
        found |= _FieldReader(subscription.type).fields_read_by(function, 0)
    return found


class _FieldReader:
    """Follows one message through the functions that it is passed to."""

    def __init__(self, type_: type[Message]) -> None:
        self._all = set(type_.model_fields)
        self._members = {name: set() if hasattr(Message, name) else self._all for name in dir(type_)}
        self._members |= dict.fromkeys(dir(BaseModel), self._all) | {"key": {type_.key_field}}
        self._seen: set[tuple[Any, str | int]] = set()

    def fields_read_by(self, function: Callable[..., Any], argument: str | int) -> set[str]:
        """The fields that a function reads of the message, which is its argument of this position or name."""
        if (function, argument) in self._seen:
            return set()
        self._seen.add((function, argument))
        names = list(inspect.signature(function).parameters)
        name = argument if isinstance(argument, str) else names[min(argument, len(names) - 1)]
        found, followed = set[str](), set[ast.AST]()
        nodes = list(ast.walk(ast.parse(dedent(inspect.getsource(function)))))
        for node in nodes:
            match node:
                case ast.Attribute(value=ast.Name(id=it), attr=field) if it == name:
                    followed.add(node.value)
                    found |= self._members.get(field, {field})
                case ast.Call():
                    for position, value in [*enumerate(node.args), *((it.arg, it.value) for it in node.keywords)]:
                        if isinstance(value, ast.Name) and value.id == name and position is not None:
                            followed.add(value)
                            callee = _resolve(node.func, function.__globals__)
                            found |= self._fields_read_by_callee(callee, position)
        loaded = {node for node in nodes if isinstance(node, ast.Name) and node.id == name}
        return found if loaded <= followed else self._all  # another use of the message may read any field

    def _fields_read_by_callee(self, callee: Any, position: str | int) -> set[str]:
        if inspect.isfunction(callee):
            return self.fields_read_by(callee, position)
        return set() if callee in READ_NO_FIELD else self._all


def _resolve(node: ast.expr, globals_: Mapping[str, Any]) -> Any:
    """The object that `name` or `module.name` refers to in a function's module."""
    match node:
        case ast.Name(id=name):
            return globals_.get(name, getattr(builtins, name, None))
        case ast.Attribute(value=ast.Name(id=module), attr=name):
            return getattr(globals_.get(module), name, None)
    return None
