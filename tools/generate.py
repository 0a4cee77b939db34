"""Writes the files that are generated from the code; with `--check` it names those that are out of date.

Both stop when a contract has changed in a way that is not additive, or lacks what its consumers need.
"""

import argparse
import json
import sys
from pathlib import Path

from tools import contracts, operations, pages, references
from tools import system_map as chart
from tools.asyncapi import document as asyncapi

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- The map: written by `make generated`. -->", "<!-- End of the map. -->"


def readme() -> str:
    """The README, with new text between two comments."""
    path = ROOT / "README.md"
    before, begin, rest = path.read_text().partition(BEGIN) if path.exists() else ("", "", "")
    _, end, after = rest.partition(END)
    if not (begin and end):
        sys.exit(f"README.md: put the lines\n{BEGIN}\n{END}\nwhere the map belongs")
    return f"{before}{BEGIN}\n\n{chart.diagram()}\n\n{chart.services()}\n\n{END}{after}"


def generated_files() -> dict[str, str]:
    """Every generated file by its path, with the text that it should have."""
    return {
        "README.md": readme(),
        "docs/map.md": pages.map_page(),
        "docs/messages.md": pages.messages_page(),
        "docs/asyncapi.json": json.dumps(asyncapi(), indent=2, ensure_ascii=False) + "\n",
        "docs/errors.md": references.errors_page(),
        "docs/settings.md": references.settings_page(),
        **references.openapi_documents(),
        **contracts.files(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    if errors := [*contracts.contract_errors(), *operations.differences()]:
        sys.exit("\n".join(errors))
    files = generated_files()
    folders = (ROOT / contracts.FOLDER, ROOT / references.FOLDER)
    gone = {path.relative_to(ROOT).as_posix() for folder in folders for path in folder.glob("*.json")} - files.keys()
    stale = {name for name, text in files.items() if not (ROOT / name).exists() or (ROOT / name).read_text() != text}
    if check and (stale or gone):
        sys.exit(f"out of date: {', '.join(sorted(stale | gone))}; run `make generated`")
    for name in stale:
        (ROOT / name).parent.mkdir(exist_ok=True)
        (ROOT / name).write_text(files[name])
    for name in gone:
        (ROOT / name).unlink()


if __name__ == "__main__":
    main()
