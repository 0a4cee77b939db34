"""Schema compatibility: whether a change of a contract is additive.

Both sides ignore unknown fields. So a change of a contract is additive if

- **the new schema reads old messages** (backward compatible), which are still in topics, outboxes and message logs, and
- **the old schema reads new messages** (forward compatible), for events: the services that consume them are deployed
  independently. A command has one consumer, its owner, which is deployed before the senders: so it may be widened.

The comparison knows the keywords that pydantic writes for contracts; a difference in any other keyword is a gap.

Why our own: `jsonsubschema` answers yes or no for a whole schema, `jsonschema-diff` lists differences without judging
them; neither names the field that a consumer would miss, or tells a missing field from a value that does not fit.
"""

from collections.abc import Iterator
from enum import Enum, auto
from typing import Any, NamedTuple

Schema = dict[str, Any]

AT_MOST = {"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"}
AT_LEAST = {"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"}
ANNOTATIONS = {"title", "description", "default", "examples", "deprecated", "$defs", "$schema"}
COMPARED = AT_MOST | AT_LEAST | {"type", "enum", "const", "properties", "required", "items", "additionalProperties"}
IDENTITY = {"x-wire-type": "wire name", "x-topic": "topic", "x-key": "key"}


class Kind(Enum):
    """Why a reader cannot use a field as it is written."""

    UNKNOWN = auto()  # the reader does not know the field, and ignores it
    MISSING = auto()  # the reader requires the field, and messages may lack it
    UNFIT = auto()  # the reader refuses a value that messages may have


class Gap(NamedTuple):
    """A field, such as `lines[].quantity`, and why a reader cannot use it."""

    field: str
    kind: Kind
    detail: str


def incompatible_fields(old: Schema, new: Schema) -> Iterator[tuple[str, str]]:
    """Each field of a contract whose change is not additive, with the reason."""
    for name, label in IDENTITY.items():
        if old[name] != new[name]:
            yield label, f"changed from {old[name]} to {new[name]}"
    backward = {gap.field: gap for gap in gaps(written=old, read=new)}
    forward = {gap.field: gap for gap in gaps(written=new, read=old) if gap.kind is not Kind.UNKNOWN}
    if old["x-kind"] == "commands":
        forward = {}
    for field in sorted(backward | forward):
        yield field, _reason(backward.get(field), forward.get(field))


def _reason(backward: Gap | None, forward: Gap | None) -> str:
    match backward, forward:
        case Gap(kind=Kind.UNKNOWN), _:
            return "removed"
        case Gap(kind=Kind.MISSING), _:
            return "required now, and older messages lack it: give it a default"
        case Gap(kind=Kind.UNFIT, detail=detail), None:
            return f"narrowed, and older messages do not fit: {detail}"
        case None, Gap(kind=Kind.MISSING):
            return "may be absent now, and older consumers need it"
        case None, Gap(detail=detail):
            return f"widened, and older consumers dead-letter it: {detail}"
        case Gap(detail=detail), _:
            return f"changed: {detail}"
    raise AssertionError("a field without a gap")


def gaps(written: Schema, read: Schema) -> Iterator[Gap]:
    """The fields that `written` allows in a way that a reader with the schema `read` cannot use."""
    yield from _Comparison(written, read).gaps(written, read, "")


class _Comparison:
    """Compares two documents, each with its own `$defs`."""

    def __init__(self, written: Schema, read: Schema) -> None:
        self._written, self._read = written.get("$defs", {}), read.get("$defs", {})
        self._seen: set[tuple[str | None, str | None]] = set()

    def gaps(self, written: Schema, read: Schema, at: str) -> Iterator[Gap]:
        pair = written.get("$ref"), read.get("$ref")
        if all(pair) and pair in self._seen:  # a recursive model
            return
        self._seen.add(pair)
        readable = _choices(read, self._read)
        for choice in _choices(written, self._written):
            match [it for it in readable if _may_fit(choice, it)]:
                case [single]:
                    yield from self._same_type(choice, single, at)
                case several if all(any(self._same_type(choice, it, at)) for it in several):
                    yield Gap(at, Kind.UNFIT, f"{_name(choice)}, not {' or '.join(map(_name, readable))}")
        self._seen.discard(pair)

    def _same_type(self, written: Schema, read: Schema, at: str) -> Iterator[Gap]:
        yield from _values(written, read, at)
        for keyword, limit in sorted(read.items()):
            found = written.get(keyword, "none")
            if keyword in AT_MOST or keyword in AT_LEAST:
                if found == "none" or (found > limit if keyword in AT_MOST else found < limit):
                    yield Gap(at, Kind.UNFIT, f"{keyword} {found}, not {limit}")
            elif not (keyword in COMPARED or _is_annotation(keyword) or found == limit):
                yield Gap(at, Kind.UNFIT, f"{keyword} {found}, not {limit}")
        if "items" in read:
            yield from self.gaps(written.get("items", {}), read["items"], f"{at}[]")
        if _name(read) == "object":
            yield from self._fields(written, read, f"{at}." if at else "")

    def _fields(self, written: Schema, read: Schema, at: str) -> Iterator[Gap]:
        written_fields, read_fields = written.get("properties", {}), read.get("properties", {})
        for name in read.get("required", ()):
            if name not in written.get("required", ()):
                yield Gap(at + name, Kind.MISSING, "required")
        for name in written_fields:
            if name in read_fields:
                yield from self.gaps(written_fields[name], read_fields[name], at + name)
            elif read.get("additionalProperties") is False:
                yield Gap(at + name, Kind.UNFIT, "unknown fields are forbidden")
            else:
                yield Gap(at + name, Kind.UNKNOWN, "unknown")
        if isinstance(values := read.get("additionalProperties"), dict):
            other = written.get("additionalProperties", {} if not written_fields else False)
            if other is not False:
                yield from self.gaps(other if isinstance(other, dict) else {}, values, f"{at}*")


def _choices(schema: Schema, definitions: Schema) -> list[Schema]:
    """The alternatives of a schema, each with one type, and with references resolved."""
    if "$ref" in schema:
        return _choices(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if parts := schema.get("anyOf", schema.get("oneOf")):
        return [choice for part in parts for choice in _choices(part, definitions)]
    if isinstance(types := schema.get("type"), list):
        return [{**schema, "type": type_} for type_ in types]
    return [schema]


def _values(written: Schema, read: Schema, at: str) -> Iterator[Gap]:
    """Values that messages may have and that the reader does not list."""
    listed, possible = _listed(read), _listed(written)
    if listed is not None and possible is None:
        yield Gap(at, Kind.UNFIT, f"any {_name(written)}, not only {', '.join(map(repr, listed))}")
    elif listed is not None and possible is not None and (more := [it for it in possible if it not in listed]):
        yield Gap(at, Kind.UNFIT, f"the value {', '.join(map(repr, more))}")


def _listed(schema: Schema) -> list[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _name(schema: Schema) -> str:
    return str(schema.get("type", "anything"))


def _is_annotation(keyword: str) -> bool:
    return keyword in ANNOTATIONS or keyword.startswith("x-")


def _may_fit(written: Schema, read: Schema) -> bool:
    return (
        all(map(_is_annotation, read))
        or _name(written) == _name(read)
        or (_name(written), _name(read)) == ("integer", "number")
    )
