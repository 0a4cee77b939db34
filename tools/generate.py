"""Writes the files that follow from the code; with `--check` it says which of them are out of date."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from aggregator.openapi import document
from tools import map as chart

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- The map: written by `make generated`. -->", "<!-- End of the map. -->"

MAP = """# The map

Written by `make generated` from contracts, subscriptions and imports. A solid arrow is a command, a dotted one an
event, a thick one a call over HTTP; boxes are layers.

{diagram}

## Messages

{messages}
"""


def map_page() -> str:
    return MAP.format(diagram=chart.diagram(), messages=chart.catalogue())


def readme() -> str:
    """The README, with what stands between two comments written anew."""
    path = ROOT / "README.md"
    before, begin, rest = path.read_text().partition(BEGIN) if path.exists() else ("", "", "")
    _, end, after = rest.partition(END)
    if not (begin and end):
        sys.exit(f"README.md: put the lines\n{BEGIN}\n{END}\nwhere the map belongs")
    return f"{before}{BEGIN}\n\n{chart.diagram()}\n\n{chart.services()}\n\n{END}{after}"


def openapi() -> str:
    """The public API, as its service serves it."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


FILES: dict[str, Callable[[], str]] = {"docs/map.md": map_page, "docs/openapi.json": openapi, "README.md": readme}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = []
    for name, made in FILES.items():
        path, text = ROOT / name, made()
        if not path.exists() or path.read_text() != text:
            stale.append(name)
            if not check:
                path.write_text(text)
    if check and stale:
        sys.exit(f"out of date: {', '.join(stale)}; run `make generated`")


if __name__ == "__main__":
    main()
