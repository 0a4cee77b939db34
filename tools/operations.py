"""Whether each operation that a contract declares is served by its owner: method, path, parameters, types, problems.

A renamed route or a changed answer is found here, from the OpenAPI documents, without starting anything.
"""

import importlib
import pkgutil
from collections.abc import Iterator
from functools import cache
from typing import Any, get_args, get_origin

import contracts
from chassis import errors
from chassis.calls import Operation
from chassis.service import Service, installed
from chassis.web.openapi import audience_of, document

# What any operation may answer follows from its dependencies, and is not declared.
COMMON = {it.code for it in vars(errors).values() if isinstance(it, type) and issubclass(it, errors.Problem)}


def declared() -> Iterator[tuple[str, Operation[Any]]]:
    """The operations of all contracts by name."""
    for module in pkgutil.iter_modules(contracts.__path__):
        found = vars(importlib.import_module(f"contracts.{module.name}"))
        yield from ((f"contracts.{module.name}.{name}", it) for name, it in found.items() if isinstance(it, Operation))


def differences() -> list[str]:
    """A line for each declaration that does not fit what is served."""
    return [f"{name}: {line}" for name, operation in declared() for line in _differences(operation)]


def _differences(operation: Operation[Any]) -> Iterator[str]:
    service = installed()[operation.api.name]
    served = _document(service, operation.path)["paths"].get(operation.path, {}).get(operation.method.lower())
    if served is None:
        yield f"{service.name} serves no {operation.method} {operation.path}"
        return
    query = {it["name"]: it["required"] for it in served.get("parameters", ()) if it["in"] == "query"}
    if unknown := set(operation.query) - query.keys():
        yield f"there is no query parameter {', '.join(sorted(unknown))}"
    if missing := {name for name, required in query.items() if required} - set(operation.query):
        yield f"the query parameter {', '.join(sorted(missing))} is required"
    body = _content(served.get("requestBody", {}))
    if _names(operation.body) != body:
        yield f"the body is {body or 'empty'}, not {_names(operation.body) or 'empty'}"
    answer = _content(next(it for status, it in served["responses"].items() if status.startswith("2")))
    if _names(operation.answer) != answer:
        yield f"the answer is {answer or 'empty'}, not {_names(operation.answer) or 'empty'}"
    own = _codes(served["responses"])
    codes = {problem.code for problem in operation.problems}
    if own - COMMON != codes - COMMON:
        yield f"the problems are {sorted(own - COMMON)}, not {sorted(codes - COMMON)}"


@cache
def _documents(service: str, audience: Any) -> dict[str, Any]:
    return document(installed()[service], audience)


def _document(service: Service, path: str) -> dict[str, Any]:
    return _documents(service.name, audience_of(service, path))


def _names(kind: Any) -> str:
    """A type as a document names it: `OrderView`, `list[OrderView]`, `RefreshTokens | SignIn`."""
    if kind is None:
        return ""
    if get_origin(kind) is list:
        return f"list[{_names(get_args(kind)[0])}]"
    if get_args(kind) and not hasattr(kind, "model_fields"):
        return " | ".join(sorted(map(_names, get_args(kind))))
    return str(kind.__name__)


def _content(part: dict[str, Any]) -> str:
    return _named(part.get("content", {}).get("application/json", {}).get("schema", {}))


def _named(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2].removesuffix("-Input").removesuffix("-Output")
    if schema.get("type") == "array":
        return f"list[{_named(schema['items'])}]"
    return " | ".join(sorted(map(_named, schema.get("oneOf", schema.get("anyOf", ())))))


def _codes(responses: dict[str, Any]) -> set[str]:
    contents = (content for it in responses.values() for content in it.get("content", {}).values())
    return {code for content in contents for code in content.get("examples", {})}
