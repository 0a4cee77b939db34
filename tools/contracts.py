"""The contracts as JSON Schemas, and the check that they changed by addition and serve their consumers.

The classes are compared with the schemas in `shared/contracts/schemas` and, where there is a git history, with every
version of them on the way to HEAD: what is committed counts as released, however the file looks now. `exceptions.toml`
beside them lets single changes through, each with its reason.

    python -m tools.contracts                    # what `make generated` and `make check` begin with
    python -m tools.contracts --deployed FOLDER  # whether these consumers can live with the producers deployed there
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

from chassis.messaging.message import Command, Event, Message
from chassis.service import installed
from tools.compatibility import Schema, breaks
from tools.consumers import unserved
from tools.system_map import messages, owner_of

ROOT = Path(__file__).parent.parent
FOLDER = Path("shared/contracts/schemas")


class Untitled(GenerateJsonSchema):
    """Without titles that say the name of the field once more."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def contracts() -> list[type[Message]]:
    """Every command and event, by wire type."""
    found = [it for owner in installed() for kind in (Command, Event) for it in messages(kind, owner)]
    return sorted(found, key=lambda it: it.wire_type)


def schema_of(message: type[Message]) -> Schema:
    """What a reader of the message accepts, with its names on the wire."""
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
    """The schemas as they stand in the repository, by path."""
    return {f"{FOLDER}/{name}.json": json.dumps(it, indent=2) + "\n" for name, it in schemas().items()}


def in_folder(folder: Path) -> dict[str, Schema]:
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def committed(root: Path) -> Iterator[Schema]:
    """Every version of every schema on the way to HEAD; of merged branches only what was merged."""
    if not (root / ".git").exists() or not _git(root, "for-each-ref", "--count=1"):
        return
    listed = _git(root, "rev-list", "--objects", "--first-parent", "HEAD", "--", str(FOLDER))
    names = [line.split()[0] for line in listed.decode().splitlines() if line.endswith(".json")]
    rest = _git(root, "cat-file", "--batch", say="\n".join(names))
    while rest:
        header, _, rest = rest.partition(b"\n")
        size = int(header.split()[2])
        yield json.loads(rest[:size])
        rest = rest[size + 1 :]


def _git(root: Path, *command: str, say: str = "") -> bytes:
    return subprocess.run(["git", "-C", root, *command], input=say.encode(), stdout=subprocess.PIPE, check=True).stdout


def refusals(old: Iterable[Schema], new: dict[str, Schema], let_through: Iterable[str] = ()) -> list[str]:
    """Contract, field and reason of each change that is not additive."""
    found: dict[str, None] = {}
    for before in old:
        name = before["x-wire-type"]
        if name not in new:
            found[f"{name}: removed"] = None
            continue
        for field, reason in breaks(before, new[name]):
            found[f"{name} {field}: {reason}"] = None
    return [it for it in found if it not in set(let_through)]


def not_additive(root: Path = ROOT) -> list[str]:
    """The refusals in a working tree."""
    folder = root / FOLDER
    exceptions = tomllib.loads((folder / "exceptions.toml").read_text())
    return refusals([*committed(root), *in_folder(folder).values()], schemas(), exceptions)


def wrong() -> list[str]:
    """What is to be mended before the schemas may be written."""
    found = [*not_additive(), *unserved(installed(), schemas())]
    return [*found, "docs/contracts.md says how a contract changes"] if found else []


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--deployed", type=Path, metavar="FOLDER", help="schemas of the producers that run there")
    deployed = parser.parse_args().deployed
    found = list(unserved(installed(), in_folder(deployed))) if deployed else wrong()
    if found:
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
