"""The generated pages in docs/, as Markdown: the map, and every message."""

import json
from collections.abc import Iterator
from typing import Any

from chassis.message import Message
from chassis.service import installed
from tools import system_map as chart
from tools.asyncapi import example, topics
from tools.compatibility import Schema
from tools.consumers import fields_read
from tools.contracts import schema_of

MAP = """# The map

Written by `make generated` from contracts, subscriptions and imports. A solid arrow is a command, a dotted one an
event, a thick one a call over HTTP; boxes are layers. Every message with its fields: [messages.md](messages.md).

{diagram}
"""

MESSAGES = """# Messages

Written by `make generated` from the contracts and from the handlers of their consumers. The same for programs:
[asyncapi.json](asyncapi.json) (AsyncAPI 3), and a JSON Schema of each message in `shared/contracts/schemas`. How a
contract changes: [contracts.md](contracts.md).

A topic has the messages of one owner. Messages with equal keys arrive in order. *Read by* names the consumers that
read a field.

{topics}

{messages}
"""


def map_page() -> str:
    return MAP.format(diagram=chart.diagram())


def messages_page() -> str:
    lines = ["| topic | message | key | from | to |", "|---|---|---|---|---|"]
    for topic, inside in topics().items():
        for it in inside:
            producers, consumers = (", ".join(names) for names in chart.senders_and_receivers(it))
            link = f"[{it.__name__}](#{it.__name__.lower()})"
            lines.append(f"| `{topic}` | {link} | `{it.key_field}` | {producers} | {consumers} |")
    sections = (section for topic, inside in topics().items() for section in [f"## {topic}", *_sections(inside)])
    return MESSAGES.format(topics="\n".join(lines), messages="\n\n".join(sections))


def _sections(inside: list[type[Message]]) -> Iterator[str]:
    """A section for each message. Messages with equal fields refer to the first of them."""
    shown: dict[str, str] = {}
    for it in inside:
        producers, consumers = (", ".join(names) for names in chart.senders_and_receivers(it))
        text = " ".join(str(it.__doc__).split())
        way = f"from {producers or 'no service'} to {consumers or 'no service'}"
        head = f"### {it.__name__}\n\n`{it.wire_type}`, key `{it.key_field}`, {way}.\n\n{text}"
        fields = "\n".join(_fields(it))
        first = shown.setdefault(fields, it.__name__)
        same = f"Fields as those of [{first}](#{first.lower()})."
        yield f"{head} {same}" if first != it.__name__ else f"{head}\n\n{fields}\n\n{_example(it)}"


def _fields(it: type[Message]) -> Iterator[str]:
    readers = {
        name: fields_read(service.subscriptions.by_type[it.wire_type])
        for name, service in installed().items()
        if it.wire_type in service.subscriptions.by_type
    }
    schema = schema_of(it)
    yield "| field | type | default | read by |"
    yield "|---|---|---|---|"
    for path, field, default in field_rows(schema, schema.get("$defs", {})):
        consumers = ", ".join(name for name, fields in readers.items() if path in fields)
        yield f"| `{path}` | {type_in_words(field, schema.get('$defs', {}))} | {default} | {consumers} |"


def field_rows(schema: Schema, definitions: Schema, before: str = "") -> Iterator[tuple[str, Schema, str]]:
    """Every field by its path, with its default."""
    for name, field in schema["properties"].items():
        default = "required" if name in schema.get("required", ()) else f"`{json.dumps(field.get('default'))}`"
        yield before + name, field, default
        inner = _resolve(field.get("items", {}), definitions)
        if "properties" in inner:
            yield from field_rows(inner, definitions, f"{before}{name}[].")


def type_in_words(schema: Schema, definitions: Schema) -> str:
    """A type in plain words."""
    schema = _resolve(schema, definitions)
    match schema:
        case {"anyOf": parts}:
            return " or ".join(type_in_words(part, definitions) for part in parts)
        case {"enum": values}:
            return "one of " + ", ".join(f"`{value}`" for value in values)
        case {"type": "array", "items": items}:
            return f"list of {type_in_words(items, definitions)}"
        case {"type": "integer", "minimum": least, "maximum": most}:
            return f"integer, {least} to {most}"
        case {"type": "string", "format": kind}:
            return {"uuid": "UUID", "date-time": "time"}.get(kind, str(kind))
        case {"type": "string", "pattern": pattern}:
            return f"text like `{pattern}`"
        case {"type": "object", "title": title}:
            return str(title)
        case {"type": kind}:
            return {"string": "text", "null": "null"}.get(kind, str(kind))
    return "anything"


def _resolve(schema: Schema, definitions: Schema) -> Schema:
    return definitions[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def _example(it: type[Message]) -> str:
    schema: Any = schema_of(it)
    return f"```json\n{json.dumps(example(schema, schema.get('$defs', {})))}\n```"
