"""What the pages name exists (files, make targets, commands, tables, terms), and their words are plain."""

import re
from pathlib import Path

import pytest

from tools.words import UNCLEAR

ROOT = Path(__file__).parent.parent
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
EXAMPLE = "invoice"  # the service that docs/add-a-service.md adds
FILES = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("[!.]*/**/*") if "__pycache__" not in path.parts}
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
COMMANDS = {path.stem.replace("_", "-") for path in ROOT.glob("infra/cli/[a-z]*.py")}
CHASSIS = {it for it in FILES if re.fullmatch(r"shared/chassis/.*\.py", it) and not it.endswith("__init__.py")}

in_pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def code(page: Path) -> list[str]:
    """What stands between backticks, and the shell commands."""
    text = page.read_text()
    blocks = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
    shell = [body for language, body in blocks.findall(text) if language == "sh"]
    return shell + re.findall(r"`([^`]+)`", blocks.sub("", text))


@in_pages
def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


@in_pages
def test_named_files_exist(page: Path) -> None:
    """In full, or from a folder on, as in `order/saga.py`."""
    words = [word for piece in code(page) for word in piece.split()]
    named = {word for word in words if re.fullmatch(r"\w[\w./-]*/[\w-]+\.(py|md|toml|json|lock|env)", word)}
    assert [it for it in named if EXAMPLE not in it and not any(f"/{file}".endswith(f"/{it}") for file in FILES)] == []


@in_pages
def test_named_targets_exist(page: Path) -> None:
    assert {name for piece in code(page) for name in re.findall(r"\bmake ([a-z-]+)", piece)} <= TARGETS


@in_pages
def test_named_commands_exist(page: Path) -> None:
    """The changelog has old names as well."""
    if page.name == "CHANGELOG.md":
        return
    assert {name for piece in code(page) for name in re.findall(r"\bagora ([a-z][a-z-]+)", piece)} <= COMMANDS


@in_pages
def test_words_are_plain(page: Path) -> None:
    """Code may have the words: an old name in the changelog, for one."""
    prose = re.sub(r"`[^`]*`", "", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL))
    assert re.findall(rf"\b(?:{'|'.join(UNCLEAR)})\b", " ".join(prose.split()), re.IGNORECASE) == []


def test_the_glossary_reaches_every_module_of_the_chassis() -> None:
    rows = re.findall(r"^\| (?!term|---)(.*) \|$", (ROOT / "docs/glossary.md").read_text(), re.MULTILINE)
    cells = [row.split(" | ") for row in rows]
    assert [row for row in cells if len(row) != 4 or not all(row) or "](" not in row[3]] == []
    assert CHASSIS - {it for row in cells for it in re.findall(r"\]\(\.\./([^)]+)\)", row[3])} == set()


def test_a_term_of_the_glossary_stands_in_its_file() -> None:
    """A reader who searches the code for the term of the field finds the file."""
    rows = re.findall(r"^\| (?!term|---)(.*?) \|.*\| (.*) \|$", (ROOT / "docs/glossary.md").read_text(), re.MULTILINE)
    missing = []
    for names, links in rows:
        files = [(ROOT / "docs" / link) for link in re.findall(r"\]\(([^)]+)\)", links)]
        text = " ".join(_plain(f"{file.name} {file.read_text()}") for file in files)
        terms = re.split(r", | and ", re.sub(r" \*?\(.*?\)\*?", "", names))
        missing += [term for term in terms if _plain(term) not in text]
    assert missing == []


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[-_]", " ", text.lower()).split())


def test_a_new_service_finds_the_lines_that_it_has_to_change() -> None:
    (diff,) = re.findall(r"^```diff\n(.*?)^```", (ROOT / "docs/add-a-service.md").read_text(), re.MULTILINE | re.DOTALL)
    hunks = re.split(r"^@@.*@@\n", diff, flags=re.MULTILINE)[1:]
    before = ["".join(line[1:] for line in hunk.splitlines(keepends=True) if line[0] in " -") for hunk in hunks]
    rules = (ROOT / "pyproject.toml").read_text()
    assert [lines for lines in before if rules.count(lines) != 1] == []


def test_every_table_has_an_answer() -> None:
    """What becomes of its rows: `docs/growing-old.md`."""
    answered = set(re.findall(r"`(\w+)`(?=[^|]*\|)", (ROOT / "docs/growing-old.md").read_text()))
    migrations = [*ROOT.glob("services/*/migrations/*.py"), *ROOT.glob("shared/chassis/database/alembic/versions/*.py")]
    tables = {
        name for path in migrations for name in re.findall(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+)", path.read_text())
    }
    assert tables - answered - {"outbox_history_rest"} == set()
