"""The pages about the system in docs/, as Markdown: the map, and every message."""

import json
from collections.abc import Iterator
from typing import Any

from chassis.messaging.message import Message
from chassis.service import installed
from tools import system_map as chart
from tools.asyncapi import example, topics
from tools.compatibility import Schema
from tools.consumers import reads
from tools.contracts import schema_of

MAP = """# The map

Written by `make generated` from contracts, subscriptions and imports. A solid arrow is a command, a dotted one an
event, a thick one a call over HTTP; boxes are layers. Every message with its fields: [messages.md](messages.md).

{diagram}
"""

MESSAGES = """# Messages

Written by `make generated` from the contracts and from the handlers of their consumers. The same for machines:
[asyncapi.json](asyncapi.json) (AsyncAPI 3), and a JSON Schema of each in `shared/contracts/schemas`. How a contract
changes: [contracts.md](contracts.md).

A topic has the messages of one owner; those with equal keys come in order. *Read by* says which
consumers look at a field.

{topics}

{messages}
"""


def map_page() -> str:
    return MAP.format(diagram=chart.diagram())


def messages_page() -> str:
    lines = ["| topic | message | key | from | to |", "|---|---|---|---|---|"]
    for topic, inside in topics().items():
        for it in inside:
            producers, consumers = (", ".join(names) for names in chart.ends(it))
            link = f"[{it.__name__}](#{it.__name__.lower()})"
            lines.append(f"| `{topic}` | {link} | `{it.key_field}` | {producers} | {consumers} |")
    sections = (section for topic, inside in topics().items() for section in [f"## {topic}", *_sections(inside)])
    return MESSAGES.format(topics="\n".join(lines), messages="\n\n".join(sections))


def _sections(inside: list[type[Message]]) -> Iterator[str]:
    """One for each message; where two have the same fields, those stand with the first."""
    shown: dict[str, str] = {}
    for it in inside:
        producers, consumers = (", ".join(names) for names in chart.ends(it))
        says = " ".join(str(it.__doc__).split())
        way = f"from {producers or 'nobody'} to {consumers or 'nobody'}"
        head = f"### {it.__name__}\n\n`{it.wire_type}`, key `{it.key_field}`, {way}.\n\n{says}"
        fields = "\n".join(_fields(it))
        first = shown.setdefault(fields, it.__name__)
        same = f"Fields as of [{first}](#{first.lower()})."
        yield f"{head} {same}" if first != it.__name__ else f"{head}\n\n{fields}\n\n{_example(it)}"


def _fields(it: type[Message]) -> Iterator[str]:
    readers = {
        name: reads(service.subscriptions.by_type[it.wire_type])
        for name, service in installed().items()
        if it.wire_type in service.subscriptions.by_type
    }
    schema = schema_of(it)
    yield "| field | type | if absent | read by |"
    yield "|---|---|---|---|"
    for path, field, absent in rows(schema, schema.get("$defs", {})):
        who = ", ".join(name for name, fields in readers.items() if path in fields)
        yield f"| `{path}` | {words(field, schema.get('$defs', {}))} | {absent} | {who} |"


def rows(schema: Schema, definitions: Schema, before: str = "") -> Iterator[tuple[str, Schema, str]]:
    """Every field by its path, with what it is taken for when it is absent."""
    for name, field in schema["properties"].items():
        absent = "needed" if name in schema.get("required", ()) else f"`{json.dumps(field.get('default'))}`"
        yield before + name, field, absent
        inner = _followed(field.get("items", {}), definitions)
        if "properties" in inner:
            yield from rows(inner, definitions, f"{before}{name}[].")


def words(schema: Schema, definitions: Schema) -> str:
    """A type as a reader says it."""
    schema = _followed(schema, definitions)
    match schema:
        case {"anyOf": parts}:
            return " or ".join(words(part, definitions) for part in parts)
        case {"enum": values}:
            return "one of " + ", ".join(f"`{value}`" for value in values)
        case {"type": "array", "items": items}:
            return f"list of {words(items, definitions)}"
        case {"type": "integer", "minimum": least, "maximum": most}:
            return f"integer, {least} to {most}"
        case {"type": "string", "format": kind}:
            return {"uuid": "UUID", "date-time": "moment"}.get(kind, str(kind))
        case {"type": "string", "pattern": pattern}:
            return f"text like `{pattern}`"
        case {"type": "object", "title": title}:
            return str(title)
        case {"type": kind}:
            return {"string": "text", "null": "nothing"}.get(kind, str(kind))
    return "anything"


def _followed(schema: Schema, definitions: Schema) -> Schema:
    return definitions[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def _example(it: type[Message]) -> str:
    schema: Any = schema_of(it)
    return f"```json\n{json.dumps(example(schema, schema.get('$defs', {})))}\n```"
