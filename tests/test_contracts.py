"""A contract changes by addition: what is refused and what passes, in which words, and that no way leads around it."""

import json
import subprocess
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import BaseModel, Field, create_model

from chassis.message import Command, Event, Message
from contracts.product import StockReserved
from tools.compatibility import Schema, incompatible_fields
from tools.contracts import (
    FOLDER,
    breaking_changes,
    committed_schemas,
    find_breaking_changes,
    read_schemas,
    schema_of,
    schemas,
)

ROOT = Path(__file__).parent.parent
GONE: Any = object()


class Piece(BaseModel):
    id: UUID
    weight: int


class PieceWithSize(Piece):
    size: int


class PieceWithDefault(Piece):
    size: int = 0


class PieceWithoutWeight(BaseModel):
    id: UUID


class Tree(BaseModel):
    children: list["Tree"]


class NamedTree(BaseModel):
    name: str
    children: list["NamedTree"]


# What it is, and what it is when it is absent.
FIELDS: dict[str, Any] = {
    "id": (UUID, ...),
    "count": (int, ...),
    "name": (Annotated[str, Field(max_length=10)], ...),
    "status": (Literal["open", "shut"], ...),
    "note": (str | None, None),
    "pieces": (list[Piece], ...),
    "marks": (dict[str, int], {}),
    "tree": (Tree, Tree(children=[])),
}


def contract(kind: type[Message], wire_type: str = "shop.it.v1", key: str = "id", **changes: Any) -> Schema:
    fields = {name: it for name, it in {**FIELDS, **changes}.items() if it is not GONE}
    made = create_model("It", __base__=kind, __cls_kwargs__={"wire_type": wire_type, "key": key}, **fields)
    return schema_of(made)


# What changes, where it is noticed, and what is said of it.
REFUSED = [
    ({"note": GONE}, "note", "removed"),
    ({"count": GONE}, "count", "removed"),
    ({"count": GONE, "amount": (int, 0)}, "count", "removed"),  # which is what a rename is
    ({"new": (int, ...)}, "new", "required now, and older messages lack it"),
    ({"note": (str | None, ...)}, "note", "required now, and older messages lack it"),
    ({"note": (str, "")}, "note", "narrowed, and older messages do not fit: null, not string"),
    ({"count": (str, ...)}, "count", "changed: integer, not string"),
    ({"count": (Annotated[int, Field(ge=1)], ...)}, "count", "narrowed, * minimum none, not 1"),
    ({"name": (Annotated[str, Field(max_length=9)], ...)}, "name", "narrowed, * maxLength 10, not 9"),
    ({"name": (Annotated[str, Field(max_length=10, pattern="^a")], ...)}, "name", "narrowed, * pattern none, not ^a"),
    ({"status": (Literal["open"], ...)}, "status", "narrowed, * the value 'shut'"),
    ({"name": (Literal["a", "b"], ...)}, "name", "changed: any string, not only 'a', 'b'"),
    ({"pieces": (list[PieceWithoutWeight], ...)}, "pieces[].weight", "removed"),
    ({"pieces": (list[PieceWithSize], ...)}, "pieces[].size", "required now, *"),
    ({"pieces": (Annotated[list[Piece], Field(max_length=5)], ...)}, "pieces", "narrowed, * maxItems none, not 5"),
    ({"marks": (dict[str, str], {})}, "marks.*", "changed: integer, not string"),
    ({"tree": (NamedTree, NamedTree(name="", children=[]))}, "tree.name", "required now, *"),
    ({"count": (Annotated[int, Field(multiple_of=2)], ...)}, "count", "narrowed, * multipleOf none, not 2"),
    ({"key": "name"}, "key", "changed from id to name"),
]
# A command may be widened: its one reader is deployed before those who send it.
REFUSED_FOR_EVENTS = [
    ({"id": (str, ...)}, "id", "widened, and older consumers dead-letter it: format none, not uuid"),
    ({"count": (float, ...)}, "count", "widened, * number, not integer"),
    ({"count": (int | None, ...)}, "count", "widened, * null, not integer"),
    ({"count": (int | str, ...)}, "count", "widened, * string, not integer"),
    ({"count": (int, 0)}, "count", "may be absent now, and older consumers need it"),
    ({"name": (str, ...)}, "name", "widened, * maxLength none, not 10"),
    ({"name": (Annotated[str, Field(max_length=11)], ...)}, "name", "widened, * maxLength 11, not 10"),
    ({"status": (Literal["open", "shut", "ajar"], ...)}, "status", "widened, * the value 'ajar'"),
    ({"status": (str, ...)}, "status", "widened, * any string, not only 'open', 'shut'"),
    ({"marks": (dict[str, Any], {})}, "marks.*", "widened, * anything, not integer"),
]
ADDITIVE: list[dict[str, Any]] = [
    {},
    {"new": (int, 0)},
    {"new": (str | None, None)},
    {"new": (list[Piece], [])},
    {"pieces": (list[PieceWithDefault], ...)},
    {"note": (str | None, "")},  # another default
    {"count": (Annotated[int, Field(description="how many", title="Number")], ...)},
]


@pytest.mark.parametrize(("change", "field", "said"), [*REFUSED, *REFUSED_FOR_EVENTS])
def test_an_event_refuses(change: dict[str, Any], field: str, said: str) -> None:
    ((noticed, reason),) = incompatible_fields(contract(Event), contract(Event, **change))
    assert (noticed, fnmatchcase(reason, f"{said}*")) == (field, True), reason


@pytest.mark.parametrize(("change", "field"), [it[:2] for it in REFUSED])
def test_a_command_refuses(change: dict[str, Any], field: str) -> None:
    assert [noticed for noticed, _ in incompatible_fields(contract(Command), contract(Command, **change))] == [field]


@pytest.mark.parametrize("change", [it for it, _, _ in REFUSED_FOR_EVENTS])
def test_a_command_may_be_widened(change: dict[str, Any]) -> None:
    assert list(incompatible_fields(contract(Command), contract(Command, **change))) == []


@pytest.mark.parametrize("kind", [Command, Event])
@pytest.mark.parametrize("change", ADDITIVE)
def test_what_is_added_passes(kind: type[Message], change: dict[str, Any]) -> None:
    assert list(incompatible_fields(contract(kind), contract(kind, **change))) == []


def test_a_contract_that_is_gone_or_renamed_is_refused_and_a_new_one_is_not() -> None:
    old, renamed = contract(Event), contract(Event, "shop.it.v2")
    assert breaking_changes([old], {"shop.it.v2": renamed}) == ["shop.it.v1: removed"]
    assert breaking_changes([old], {"shop.it.v1": old, "shop.it.v2": renamed}) == []


def test_an_event_that_becomes_a_command_has_another_topic() -> None:
    assert (
        dict(incompatible_fields(contract(Event), contract(Command)))["topic"]
        == "changed from shop.events to shop.commands"
    )


def test_one_line_lets_one_change_through() -> None:
    new = {"shop.it.v1": contract(Event, note=GONE, name=GONE)}
    both = breaking_changes([contract(Event)], new)
    assert both == ["shop.it.v1 name: removed", "shop.it.v1 note: removed"]
    assert breaking_changes([contract(Event)], new, exceptions=both[:1]) == both[1:]


class Repository:
    """A folder with a history of schemas."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.schemas = folder, folder / FOLDER
        self.schemas.mkdir(parents=True)
        (self.schemas / "exceptions.toml").touch()

    def git(self, *command: str) -> None:
        who = ["-c", "user.name=tester", "-c", "user.email=tester@example.com", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *who, "-C", self.folder, *command], check=True, capture_output=True)

    def write(self, schema: Schema) -> None:
        (self.schemas / f"{schema['x-wire-type']}.json").write_text(json.dumps(schema))

    def commit(self, schema: Schema) -> None:
        self.write(schema)
        self.git("add", ".")
        self.git("commit", "-m", "a version")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def other_shape() -> tuple[Schema, str]:
    """A contract of the system as it might have been before, and what is then to be said."""
    before = schema_of(StockReserved)
    before["properties"] = {**before["properties"], "warehouse": {"type": "string"}}
    return before, "product.stock_reserved.v1 warehouse: removed"


def test_without_a_history_the_files_are_what_counts(repository: Repository) -> None:
    before, said = other_shape()
    repository.write(before)
    assert find_breaking_changes(repository.folder) == [said]


def test_whoever_writes_the_schema_anew_or_deletes_it_is_found_by_the_history(repository: Repository) -> None:
    before, said = other_shape()
    repository.git("init")
    assert list(committed_schemas(repository.folder)) == []
    repository.commit(before)
    repository.write(schema_of(StockReserved))
    assert find_breaking_changes(repository.folder) == [said]
    repository.commit(schema_of(StockReserved))
    assert find_breaking_changes(repository.folder) == [said]  # also once it is committed
    (repository.schemas / "product.stock_reserved.v1.json").unlink()
    assert find_breaking_changes(repository.folder) == [said]
    (repository.schemas / "exceptions.toml").write_text(f'"{said}" = "there is one warehouse"')
    assert find_breaking_changes(repository.folder) == []


def test_what_a_branch_took_back_before_it_was_merged_does_not_count(repository: Repository) -> None:
    before, _ = other_shape()
    repository.git("init", "-b", "main")
    repository.commit(schema_of(StockReserved))
    repository.git("checkout", "-b", "branch")
    repository.commit(before)
    repository.commit(schema_of(StockReserved))
    assert find_breaking_changes(repository.folder) != []
    repository.git("checkout", "main")
    repository.git("merge", "--no-ff", "branch")
    assert find_breaking_changes(repository.folder) == []


def test_the_repository_has_a_schema_of_every_contract() -> None:
    assert read_schemas(ROOT / FOLDER) == schemas()
