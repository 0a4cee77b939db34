"""What each consumer needs of the messages it subscribes to, read from its handlers, and whether its producer has it.

A consumer needs what its class of the message requires, and what its handler reads: the fields that it names, that its
`rows(…)` name, and that the functions read which it hands the message to. Who dumps a message reads all of it.
It does not know `isinstance`: types with different fields have a handler each.
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

LOOK_AT_NO_FIELD = (type, isinstance)


def unserved(services: Mapping[str, Service], produced: Mapping[str, Schema]) -> Iterator[str]:
    """Consumer, contract and field, where what is produced is not what the consumer needs."""
    for consumer, service in sorted(services.items()):
        for wire_type, subscription in sorted(service.subscriptions.by_type.items()):
            if (written := produced.get(wire_type)) is None:
                yield f"{consumer} subscribes to {wire_type}, and there is no such contract"
                continue
            for gap in gaps(written=written, read=subscription.type.model_json_schema()):
                if gap.kind is Kind.MISSING:
                    yield f"{consumer} needs {gap.field} of {wire_type}, which need not be there"
                elif gap.kind is Kind.UNFIT:
                    yield f"{consumer} does not take {gap.field} of {wire_type}: {gap.detail}"
            for field in sorted(reads(subscription) - written["properties"].keys()):
                yield f"{consumer} reads {field} of {wire_type}, which is not in it"


def reads(subscription: MessageHandler) -> set[str]:
    """The fields of the message that the handler and its needs look at."""
    found = {needed.source for needed in subscription.needs if isinstance(needed.source, str)}
    looking = [needed.source for needed in subscription.needs if not isinstance(needed.source, str)]
    for function in (subscription.handler, *looking):
        found |= _Reading(subscription.type).by(function, 0)
    return found


class _Reading:
    """Follows one message through the functions that it is handed to."""

    def __init__(self, type_: type[Message]) -> None:
        self._all = set(type_.model_fields)
        self._others = {name: set() if hasattr(Message, name) else self._all for name in dir(type_)}
        self._others |= dict.fromkeys(dir(BaseModel), self._all) | {"key": {type_.key_field}}
        self._seen: set[tuple[Any, str | int]] = set()

    def by(self, function: Callable[..., Any], argument: str | int) -> set[str]:
        """What a function reads of the message that is its argument of this place or name."""
        if (function, argument) in self._seen:
            return set()
        self._seen.add((function, argument))
        names = list(inspect.signature(function).parameters)
        name = argument if isinstance(argument, str) else names[min(argument, len(names) - 1)]
        found, explained = set[str](), set[ast.AST]()
        nodes = list(ast.walk(ast.parse(dedent(inspect.getsource(function)))))
        for node in nodes:
            match node:
                case ast.Attribute(value=ast.Name(id=it), attr=field) if it == name:
                    explained.add(node.value)
                    found |= self._others.get(field, {field})
                case ast.Call():
                    for place, value in [*enumerate(node.args), *((it.arg, it.value) for it in node.keywords)]:
                        if isinstance(value, ast.Name) and value.id == name and place is not None:
                            explained.add(value)
                            found |= self._handed_to(_named(node.func, function.__globals__), place)
        loaded = {node for node in nodes if isinstance(node, ast.Name) and node.id == name}
        return found if loaded <= explained else self._all  # what is done with it then, nobody knows

    def _handed_to(self, callee: Any, place: str | int) -> set[str]:
        if inspect.isfunction(callee):
            return self.by(callee, place)
        return set() if callee in LOOK_AT_NO_FIELD else self._all


def _named(node: ast.expr, known: Mapping[str, Any]) -> Any:
    """What `name` or `module.name` stands for in a function's module."""
    match node:
        case ast.Name(id=name):
            return known.get(name, getattr(builtins, name, None))
        case ast.Attribute(value=ast.Name(id=module), attr=name):
            return getattr(known.get(module), name, None)
    return None
