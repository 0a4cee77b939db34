"""The rules that no linter has: who may commit, and how long files, functions and services may be.

Those of `tools.words` and `tools.class_names` are among them. Prints one `file:line: rule` for each breach and ends
with 1.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from tools.class_names import repeated_class_names
from tools.words import unclear_words

MAX_FILE_LINES = 250  # tests may be longer
MAX_FUNCTION_LINES = 40
MAX_SERVICE_LINES = 900  # of code: docstrings and comments do not make a service large

ENDS_A_TRANSACTION = {"commit", "rollback", "transaction"}
MAY_END_ONE = {
    "shared/chassis/database/unit_of_work.py",  # the unit of work
    "shared/chassis/database/pool.py",  # ends the transaction at the end of its block
    "shared/chassis/web/transactions.py",  # an earlier answer takes the place of this one
    "shared/chassis/process/migrate.py",
    "shared/chassis/database/alembic/env.py",
    "shared/chassis/brokers/kafka/group.py",  # commits offsets, not transactions
}


def find_breaches(root: Path) -> Iterator[str]:
    for path in sorted(root.glob("[!.]*/**/*.py")):
        name, text = path.relative_to(root).as_posix(), path.read_text()
        nodes = list(ast.walk(ast.parse(text)))
        yield from too_long(name, 0 if "tests/" in name else len(text.splitlines()), nodes)
        if name.startswith(("services/", "shared/")) and "/tests/" not in name and name not in MAY_END_ONE:
            yield from commits(name, nodes)
    for service in sorted(root.glob("services/*")):
        length = sum(lines_of_code(path.read_text()) for path in service.glob(f"{service.name}/**/*.py"))
        if length > MAX_SERVICE_LINES:
            yield f"services/{service.name}: a service of {length} lines, at most {MAX_SERVICE_LINES} are allowed"


def lines_of_code(text: str) -> int:
    """The lines without blank lines, comments and docstrings."""
    docstrings = set()
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Expr(value=ast.Constant(value=str()), lineno=first, end_lineno=int(last)):
                docstrings |= set(range(first, last + 1))
    lines = enumerate(text.splitlines(), start=1)
    return sum(
        number not in docstrings and not line.lstrip().startswith("#") and bool(line.strip()) for number, line in lines
    )


def too_long(name: str, lines: int, nodes: list[ast.AST]) -> Iterator[str]:
    if lines > MAX_FILE_LINES:
        yield f"{name}:{lines}: a file of {lines} lines, at most {MAX_FILE_LINES} are allowed"
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and "/migrations/" not in name:
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                yield f"{name}:{node.lineno}: {node.name} has {length} lines, at most {MAX_FUNCTION_LINES} are allowed"


def commits(name: str, nodes: list[ast.AST]) -> Iterator[str]:
    """Calls of `.commit()` and the like, and SQL that ends a transaction."""
    for node in nodes:
        match node:
            case ast.Call(func=ast.Attribute(attr=attribute)) if attribute in ENDS_A_TRANSACTION:
                yield f"{name}:{node.lineno}: only the unit of work commits"
            case ast.Constant(value=str(text)) if text.strip(" \n;").upper() in {"BEGIN", "COMMIT", "ROLLBACK"}:
                yield f"{name}:{node.lineno}: only the unit of work commits"


def main() -> None:
    root = Path.cwd()
    found = [*find_breaches(root), *unclear_words(root), *repeated_class_names(root)]
    sys.stdout.writelines(f"{breach}\n" for breach in found)
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
