"""The generated references in docs/: OpenAPI documents of each service and audience, error codes, settings."""

import importlib
import json
import pkgutil
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

import contracts
from chassis.config import Settings
from chassis.errors import Problem, problem_types
from chassis.service import Service, installed
from chassis.web.docs import problems
from chassis.web.openapi import audiences_of, document

FOLDER = "docs/api"

ERRORS = """# Error codes

Written by `make generated` from the classes. Every error of an API is a problem (RFC 9457) with the content type
`application/problem+json`. Its `code` does not change, so programs decide by it; its `detail` is a sentence for people.
`type` is the address of the code on the running system, `/docs/errors#<code>`. Problems with wrong input list the
fields in `errors`. A header `Retry-After` says when to repeat a request.

| code | status | detail | when, and what to do | of |
|---|---|---|---|---|
{rows}
"""

SETTINGS = """# Settings

Written by `make generated` from `shared/chassis/config.py` and each service's `config.py`. A setting is an environment
variable with the service's name in front for one service (`ORDER_LOG_LEVEL`), without for all (`LOG_LEVEL`). Lists and
objects are JSON. A setting without a default is required.

{sections}
"""


def openapi_documents() -> dict[str, str]:
    """`docs/api/order.internal.json` and so on."""
    return {
        f"{FOLDER}/{service.name}.{audience}.json": json.dumps(document(service, audience), indent=2) + "\n"
        for service in installed().values()
        for audience in audiences_of(service)
    }


def errors_page() -> str:
    for module in pkgutil.iter_modules(contracts.__path__):
        importlib.import_module(f"contracts.{module.name}")
    installed()
    rows = "\n".join(
        f'| <a id="{it.code}"></a>`{it.code}` | {it.status} | {it.detail} | {_text(it)} | {", ".join(_owners(it))} |'
        for it in problems()
    )
    return ERRORS.format(rows=rows)


def _text(problem: type[Problem]) -> str:
    return " ".join((problem.__doc__ or "").split())


def _owners(problem: type[Problem]) -> Iterator[str]:
    """The services whose contracts have the code; the chassis' problems are of all services."""
    kinds = [it for it in problem_types() if (it.code, it.status) == (problem.code, problem.status)]
    modules = sorted({it.__module__ for it in kinds})
    for module in modules:
        package, _, name = module.partition(".")
        if package == "contracts":
            yield name.removesuffix("_api")
        else:
            yield "every service" if package == "chassis" else package


def settings_page() -> str:
    sections = [_section("Every service", "", Settings.model_fields.items())]
    for service in installed().values():
        own = {name: it for name, it in _fields(service).items() if name not in Settings.model_fields}
        if own:
            sections.append(_section(service.name.capitalize(), f"{service.name.upper()}_", own.items()))
    return SETTINGS.format(sections="\n\n".join(sections))


def _fields(service: Service) -> dict[str, FieldInfo]:
    return service.settings.model_fields


def _section(title: str, prefix: str, fields: Iterable[tuple[str, FieldInfo]]) -> str:
    lines = [f"## {title}", "", "| variable | default | meaning |", "|---|---|---|"]
    for name, it in fields:
        lines.append(f"| `{prefix}{name.upper()}` | {_default(it)} | {it.description or ''} |")
    return "\n".join(lines)


def _default(it: FieldInfo) -> str:
    value: Any = it.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined:
        return "required"
    text = json.dumps(value, default=str) if not isinstance(value, str) else value
    return f"`{text}`" if len(text) <= 40 else "see `config.py`"
