"""The contracts as JSON Schemas, and the check that they changed only by addition and have what their consumers need.

The classes are compared with the schemas in `shared/contracts/schemas` and, where there is a git history, with every
version of them on the way to HEAD: a committed schema counts as released, whatever the file contains now.
`exceptions.toml` beside the schemas allows single changes, each with its reason.

    python -m tools.contracts                    # the first step of `make generated` and `make check`
    python -m tools.contracts --deployed FOLDER  # whether these consumers work with the producers deployed there
"""

import argparse
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from chassis.message import Command, Event, Message
from chassis.service import installed
from tools.compatibility import Schema, incompatible_fields
from tools.consumers import unmet_needs
from tools.system_map import messages, owner_of

ROOT = Path(__file__).parent.parent
FOLDER = Path("shared/contracts/schemas")


class Untitled(GenerateJsonSchema):
    """Schemas without titles that only repeat the names of fields."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def contracts() -> list[type[Message]]:
    """Every command and event, by wire type."""
    found = [it for owner in installed() for kind in (Command, Event) for it in messages(kind, owner)]
    return sorted(found, key=lambda it: it.wire_type)


def schema_of(message: type[Message]) -> Schema:
    """The JSON Schema of a message, with its names on the wire as extensions."""
    return {
        "$schema": Untitled.schema_dialect,
        "x-wire-type": message.wire_type,
        "x-kind": message.kind,
        "x-owner": owner_of(message),
        "x-topic": message.topic,
        "x-key": message.key_field,
        **message.model_json_schema(schema_generator=Untitled),
    }


def schemas() -> dict[str, Schema]:
    return {it.wire_type: schema_of(it) for it in contracts()}


def files() -> dict[str, str]:
    """The schemas as files of the repository, by path."""
    return {f"{FOLDER}/{name}.json": json.dumps(it, indent=2) + "\n" for name, it in schemas().items()}


def read_schemas(folder: Path) -> dict[str, Schema]:
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def committed_schemas(root: Path) -> Iterator[Schema]:
    """Every version of every schema on the way to HEAD; of merged branches only the result of the merge."""
    if not (root / ".git").exists() or not _git(root, "for-each-ref", "--count=1"):
        return
    listed = _git(root, "rev-list", "--objects", "--first-parent", "HEAD", "--", str(FOLDER))
    names = [line.split()[0] for line in listed.decode().splitlines() if line.endswith(".json")]
    rest = _git(root, "cat-file", "--batch", stdin="\n".join(names))
    while rest:
        header, _, rest = rest.partition(b"\n")
        size = int(header.split()[2])
        yield json.loads(rest[:size])
        rest = rest[size + 1 :]


def _git(root: Path, *command: str, stdin: str = "") -> bytes:
    return subprocess.run(
        ["git", "-C", root, *command], input=stdin.encode(), stdout=subprocess.PIPE, check=True
    ).stdout


def breaking_changes(old: Iterable[Schema], new: dict[str, Schema], exceptions: Iterable[str] = ()) -> list[str]:
    """Contract, field and reason of each change that is not additive."""
    found: dict[str, None] = {}
    for before in old:
        name = before["x-wire-type"]
        if name not in new:
            found[f"{name}: removed"] = None
            continue
        for field, reason in incompatible_fields(before, new[name]):
            found[f"{name} {field}: {reason}"] = None
    return [it for it in found if it not in set(exceptions)]


def find_breaking_changes(root: Path = ROOT) -> list[str]:
    """The breaking changes of a working tree."""
    folder = root / FOLDER
    exceptions = tomllib.loads((folder / "exceptions.toml").read_text())
    return breaking_changes([*committed_schemas(root), *read_schemas(folder).values()], schemas(), exceptions)


def contract_errors() -> list[str]:
    """What has to be corrected before the schemas may be written."""
    found = [*find_breaking_changes(), *unmet_needs(installed(), schemas())]
    return [*found, "docs/contracts.md says how a contract changes"] if found else []


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--deployed", type=Path, metavar="FOLDER", help="the schemas of the deployed producers")
    deployed = parser.parse_args().deployed
    found = list(unmet_needs(installed(), read_schemas(deployed))) if deployed else contract_errors()
    if found:
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
