"""The checks of words and class names find what they forbid, and nothing else."""

from pathlib import Path

import pytest

from tools.class_names import repeated_class_names
from tools.words import unclear_words

FORBIDDEN = {
    "docstring": ('"""Whoever reads this."""\n', ["unclear word 'Whoever'"]),
    "comment": ("x = 1  # so many\n", ["unclear word 'so many'"]),
    "over two lines": ('"""Needs such\na thing."""\n', ["unclear word 'such a'"]),
    "error": ("raise ValueError(f'he has {1}')\n", ["unclear word 'he'"]),
    "detail": ("class E(Exception):\n    code, detail = 'a', 'It told us.'\n", ["unclear word 'told'"]),
    "help": ("option(help='for somebody')\n", ["unclear word 'somebody'"]),
    "method": ("class A:\n    def insist(self): ...\n", ["insist is a bare verb"]),
}
ALLOWED = {
    "a code word": "told = {'he': 1}\n",
    "a part of a word": '"""The history of a service, such as one that waits."""\n',
    "a function in a function": "def run_all():\n    def ask(): ...\n",
    "a private function": "def _ask(): ...\n",
}


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


@pytest.mark.parametrize(("text", "expected"), FORBIDDEN.values(), ids=FORBIDDEN)
def test_unclear_words_are_found(tmp_path: Path, text: str, expected: list[str]) -> None:
    write(tmp_path, "services/order/order/saga.py", text)
    found = list(unclear_words(tmp_path))
    assert [wanted in breach for wanted, breach in zip(expected, found, strict=True)] == [True] * len(expected)


@pytest.mark.parametrize("text", ALLOWED.values(), ids=ALLOWED)
def test_other_words_pass(tmp_path: Path, text: str) -> None:
    write(tmp_path, "services/order/order/saga.py", text)
    assert list(unclear_words(tmp_path)) == []


def test_a_class_name_that_is_defined_twice_is_found(tmp_path: Path) -> None:
    for path in ("services/order/order/models.py", "services/payment/payment/models.py", "tests/test_shop.py"):
        write(tmp_path, path, "class Payment: ...\nclass Row: ...\n")
    expected = "services/order/order/models.py:1: class Payment is also defined at services/payment/payment/models.py:1"
    assert list(repeated_class_names(tmp_path)) == [expected]
