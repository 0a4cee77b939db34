"""Plain words: no unclear phrase in docstrings, comments and error messages, no bare verb as a function's name."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

# Each of these hides the subject of a sentence, or needs a second reading. Write the noun, and one idea per sentence.
UNCLEAR = ["whoever", "somebody", "so many", "such a", "is at it", "told", "gives up", "he", "his", "him"]
# A function says what it does with what: `record_outcome`, not `learn`.
BARE_VERBS = {"ask", "give", "go", "hear", "insist", "know", "learn", "look", "owe", "say", "tell"}

_UNCLEAR = re.compile(rf"\b(?:{'|'.join(UNCLEAR)})\b", re.IGNORECASE)
_DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def unclear_words(root: Path) -> Iterator[str]:
    for path in sorted(root.glob("[!.]*/**/*.py")):
        name, text = path.relative_to(root).as_posix(), path.read_text()
        tree = ast.parse(text)
        for line, prose in sorted({*_comments(text), *_docstrings(tree), *_messages(tree)}):
            for match in _UNCLEAR.finditer(" ".join(prose.split())):
                yield f"{name}:{line}: unclear word {match[0]!r}"
        for node in _public_functions(tree):
            if node.name in BARE_VERBS:
                yield f"{name}:{node.lineno}: {node.name} is a bare verb: say what the function does with what"


def _comments(text: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def _docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED) and (docstring := ast.get_docstring(node)):
            yield node.body[0].lineno, docstring


def _messages(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The strings of `raise`, of `detail = …`, and of keyword arguments that programs show to people."""
    for node in ast.walk(tree):
        match node:
            case ast.Raise(exc=ast.expr() as shown):
                yield from _strings(shown)
            case ast.Assign(targets=targets, value=shown) if "detail" in _assigned_names(targets):
                yield from _strings(shown)
            case ast.keyword(arg="help" | "description" | "detail" | "summary", value=shown):
                yield from _strings(shown)


def _strings(expression: ast.expr) -> Iterator[tuple[int, str]]:
    for node in ast.walk(expression):
        match node:
            case ast.Constant(value=str(text)):
                yield node.lineno, text


def _assigned_names(targets: list[ast.expr]) -> set[str]:
    return {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}


def _public_functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """The functions of the module and the methods of its classes, not functions inside functions."""
    for scope in ast.walk(tree):
        if isinstance(scope, ast.Module | ast.ClassDef):
            yield from (node for node in scope.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
