"""The check of the lock notices what a copy of it lacks."""

import shutil
from pathlib import Path

import pytest

from tools.lock import unmet_requirements

ROOT = Path(__file__).parent.parent


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for path in [ROOT / "requirements.lock", ROOT / "pyproject.toml", *ROOT.glob("[!.]*/**/pyproject.toml")]:
        (tmp_path / path.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / path.relative_to(ROOT))
    return tmp_path


def edit(path: Path, old: str, new: str) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_the_lock_is_complete(tree: Path) -> None:
    assert list(unmet_requirements(tree)) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "noticed"),
    [
        (
            "services/order/pyproject.toml",
            '"shared"',
            '"shared", "django>=5"',
            "services/order/pyproject.toml requires",
        ),
        ("shared/pyproject.toml", '"httpx>=', '"httpx>=9', "shared/pyproject.toml requires httpx>=9"),
        (
            "requirements.lock",
            "\nhttptools==",
            "\nhttp-tools==",
            "uvicorn requires httptools",
        ),  # by the extra `standard`
        ("requirements.lock", "\nmypy==", "\nnot-mypy==", "pyproject.toml requires mypy"),
        ("requirements.lock", "\nmypy==", "\n--index-url https://index.example\nmypy==", "names an address"),
    ],
)
def test_what_is_missing_is_named(tree: Path, file: str, old: str, new: str, noticed: str) -> None:
    edit(tree / file, old, new)
    found = list(unmet_requirements(tree))
    assert found
    assert all(noticed in line for line in found)
