"""Whether what one JSON Schema lets be written can be read by another, and whether a change of a contract is additive.

Both sides ignore fields they do not know. So a change of a contract is additive if

- **the new reads the old**: messages from before are still in topics, outboxes and histories, and
- **the old reads the new**, for events: their consumers belong to others and are deployed when they like. A command has
  one reader, its owner, which is deployed before those who send it: so it may be widened.

It knows what pydantic writes for contracts. Of a keyword it does not know it says so, rather than let it pass.
"""

from collections.abc import Iterator
from enum import Enum, auto
from typing import Any, NamedTuple

Schema = dict[str, Any]

AT_MOST = {"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"}
AT_LEAST = {"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"}
SAID_ONLY = {"title", "description", "default", "examples", "deprecated", "$defs", "$schema"}
COMPARED = AT_MOST | AT_LEAST | {"type", "enum", "const", "properties", "required", "items", "additionalProperties"}
IDENTITY = {"x-wire-type": "wire name", "x-topic": "topic", "x-key": "key"}


class Kind(Enum):
    """What kind of trouble a reader has."""

    UNKNOWN = auto()  # a field that is written and that it does not know: it is ignored
    MISSING = auto()  # a field that it needs and that need not be there
    UNFIT = auto()  # a value that it does not take


class Gap(NamedTuple):
    """A field, as `lines[].quantity`, and what a reader makes of it."""

    field: str
    kind: Kind
    detail: str


def breaks(old: Schema, new: Schema) -> Iterator[tuple[str, str]]:
    """Each field of a contract that changed in a way that is not additive, and why."""
    for name, called in IDENTITY.items():
        if old[name] != new[name]:
            yield called, f"changed from {old[name]} to {new[name]}"
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
            return "required now, and messages from before lack it: give it a default"
        case Gap(kind=Kind.UNFIT, detail=detail), None:
            return f"narrowed, and messages from before do not fit: {detail}"
        case None, Gap(kind=Kind.MISSING):
            return "may be absent now, and consumers from before need it"
        case None, Gap(detail=detail):
            return f"widened, and consumers from before park it: {detail}"
        case Gap(detail=detail), _:
            return f"changed: {detail}"
    raise AssertionError("there is a gap on one side at least")


def gaps(written: Schema, read: Schema) -> Iterator[Gap]:
    """Where a reader of `read` does not get along with what `written` allows."""
    yield from _Comparison(written, read).gaps(written, read, "")


class _Comparison:
    """Two documents, in which references lead to `$defs`."""

    def __init__(self, written: Schema, read: Schema) -> None:
        self._written, self._read = written.get("$defs", {}), read.get("$defs", {})
        self._seen: set[tuple[str | None, str | None]] = set()

    def gaps(self, written: Schema, read: Schema, at: str) -> Iterator[Gap]:
        pair = written.get("$ref"), read.get("$ref")
        if all(pair) and pair in self._seen:  # a model that contains itself
            return
        self._seen.add(pair)
        readable = _choices(read, self._read)
        for one in _choices(written, self._written):
            match [it for it in readable if _may_fit(one, it)]:
                case [single]:
                    yield from self._same_type(one, single, at)
                case several if all(any(self._same_type(one, it, at)) for it in several):
                    yield Gap(at, Kind.UNFIT, f"{_name(one)}, not {' or '.join(map(_name, readable))}")
        self._seen.discard(pair)

    def _same_type(self, written: Schema, read: Schema, at: str) -> Iterator[Gap]:
        yield from _values(written, read, at)
        for keyword, limit in sorted(read.items()):
            found = written.get(keyword, "none")
            if keyword in AT_MOST or keyword in AT_LEAST:
                if found == "none" or (found > limit if keyword in AT_MOST else found < limit):
                    yield Gap(at, Kind.UNFIT, f"{keyword} {found}, not {limit}")
            elif not (keyword in COMPARED or _says_only(keyword) or found == limit):
                yield Gap(at, Kind.UNFIT, f"{keyword} {found}, not {limit}")
        if "items" in read:
            yield from self.gaps(written.get("items", {}), read["items"], f"{at}[]")
        if _name(read) == "object":
            yield from self._fields(written, read, f"{at}." if at else "")

    def _fields(self, written: Schema, read: Schema, at: str) -> Iterator[Gap]:
        mine, theirs = written.get("properties", {}), read.get("properties", {})
        for name in read.get("required", ()):
            if name not in written.get("required", ()):
                yield Gap(at + name, Kind.MISSING, "needed")
        for name in mine:
            if name in theirs:
                yield from self.gaps(mine[name], theirs[name], at + name)
            elif read.get("additionalProperties") is False:
                yield Gap(at + name, Kind.UNFIT, "unknown fields are forbidden")
            else:
                yield Gap(at + name, Kind.UNKNOWN, "not known")
        if isinstance(values := read.get("additionalProperties"), dict):
            other = written.get("additionalProperties", {} if not mine else False)
            if other is not False:
                yield from self.gaps(other if isinstance(other, dict) else {}, values, f"{at}*")


def _choices(schema: Schema, definitions: Schema) -> list[Schema]:
    """The schema as alternatives with one type each, references followed."""
    if "$ref" in schema:
        return _choices(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if parts := schema.get("anyOf", schema.get("oneOf")):
        return [choice for part in parts for choice in _choices(part, definitions)]
    if isinstance(types := schema.get("type"), list):
        return [{**schema, "type": one} for one in types]
    return [schema]


def _values(written: Schema, read: Schema, at: str) -> Iterator[Gap]:
    """Values that the reader does not list."""
    listed, possible = _listed(read), _listed(written)
    if listed is not None and possible is None:
        yield Gap(at, Kind.UNFIT, f"any {_name(written)}, not only {', '.join(map(repr, listed))}")
    elif listed is not None and possible is not None and (more := [it for it in possible if it not in listed]):
        yield Gap(at, Kind.UNFIT, f"the value {', '.join(map(repr, more))}")


def _listed(schema: Schema) -> list[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _name(schema: Schema) -> str:
    return str(schema.get("type", "anything"))


def _says_only(keyword: str) -> bool:
    return keyword in SAID_ONLY or keyword.startswith("x-")


def _may_fit(written: Schema, read: Schema) -> bool:
    return (
        all(map(_says_only, read))
        or _name(written) == _name(read)
        or (_name(written), _name(read)) == ("integer", "number")
    )
