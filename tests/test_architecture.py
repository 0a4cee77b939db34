"""Each rule of the architecture is broken in a copy of the tree, and a tool must say where."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent

LEVELS = "Services know contracts and not each other, contracts know the chassis, the chassis knows no business"
DOWN = "Commands go down, events go up"
LISTED = "System services meet only where it is listed"
INSIDE = "A service is read from main down to its tables"
LOGIC = "Logic knows no transport"
CHASSIS = "The chassis is built in layers"
DOORS = "Services use the doors of the chassis"
PORT = "Brokers stand behind one port"
STRANGER = "The simulators are strangers"

ILLEGAL_IMPORTS = [
    (LEVELS, "services/order/order/planted.py", "product.planted"),
    (LEVELS, "shared/chassis/planted.py", "contracts.order"),
    (LEVELS, "shared/contracts/planted.py", "order.planted"),
    (LEVELS, "services/user/user/planted.py", "local"),
    (DOWN, "services/payment/payment/planted.py", "contracts.order"),
    (DOWN, "services/order/order/planted.py", "contracts.aggregator"),
    (DOWN, "shared/contracts/user.py", "contracts.order"),
    (DOWN, "services/payment/payment/routes.py", "contracts.order_api"),
    (LISTED, "services/product/product/planted.py", "contracts.payment"),
    (INSIDE, "services/order/order/models.py", "order.saga"),
    (INSIDE, "services/product/product/queries.py", "product.handlers"),
    (LOGIC, "services/order/order/saga.py", "httpx"),
    (LOGIC, "services/payment/payment/handlers.py", "aiokafka"),
    (LOGIC, "services/user/user/queries.py", "fastapi"),
    (CHASSIS, "shared/chassis/errors.py", "chassis.database.unit_of_work"),
    (CHASSIS, "shared/chassis/database/tables.py", "chassis.jobs.tasks"),
    (DOORS, "services/user/user/planted.py", "chassis.database.pool"),
    (DOORS, "shared/contracts/planted.py", "chassis.process.run"),
    (PORT, "shared/chassis/brokers/memory.py", "chassis.brokers.kafka"),
    (STRANGER, "infra/simulators/planted.py", "contracts.order"),
]
ILLEGAL_LINES = [
    ("rules.py", "services/order/order/planted.py", "work.commit()", "only the unit of work commits"),
    ("rules.py", "services/user/user/planted.py", 'work.execute("COMMIT")', "only the unit of work commits"),
    ("ruff", "services/order/order/saga.py", "from sqlmodel import select", "SELECTs live in queries.py"),
    ("ruff", "services/user/user/planted.py", "print()", "`print` found"),
]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code with every breach in it."""
    tree = tmp_path_factory.mktemp("tree")
    for part in ("shared", "infra", "services", "tools"):
        shutil.copytree(ROOT / part, tree / part)
    shutil.copy(ROOT / "pyproject.toml", tree)
    (tree / "services/product/product/planted.py").touch()
    (tree / "shared/contracts/aggregator.py").touch()
    for _, path, imported in ILLEGAL_IMPORTS:
        plant(tree / path, f"import {imported}")
    for _, path, line, _ in ILLEGAL_LINES:
        plant(tree / path, line)
    return tree


def plant(path: Path, line: str) -> None:
    before = path.read_text() if path.exists() else '"""Planted."""\n'
    path.write_text(f"{before}{line}\n")


def line_number(path: Path, line: str) -> int:
    return path.read_text().splitlines().index(line) + 1


def output(tree: Path, *command: str | Path) -> str:
    sources = [str(tree / part) for part in ("shared", "infra")] + [str(path) for path in tree.glob("services/*")]
    environment = {"PYTHONPATH": ":".join(sources), "COLUMNS": "500"}
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, timeout=60).stdout


@pytest.fixture(scope="module")
def refused_imports(tree: Path) -> str:
    return output(tree, BIN / "lint-imports", "--no-cache", "--no-logo")


@pytest.fixture(scope="module")
def refused_lines(tree: Path) -> str:
    rules = output(tree, sys.executable, "-m", "tools.rules")
    return rules + output(tree, BIN / "ruff", "check", "--no-cache", "--output-format=concise")


@pytest.mark.parametrize(("rule", "path", "imported"), ILLEGAL_IMPORTS)
def test_an_illegal_import_is_refused(tree: Path, refused_imports: str, rule: str, path: str, imported: str) -> None:
    importer = re.sub(r"^(shared|infra|services/\w+)/|\.py$", "", path).replace("/", ".")
    line = line_number(tree / path, f"import {imported}")
    _, _, explained = refused_imports.partition(f"\n{rule}\n---")
    explained, _, _ = explained.partition("\n---")
    assert f"{importer} -> {imported} (l.{line})" in explained


def test_a_new_module_of_the_chassis_has_to_take_a_place(refused_imports: str) -> None:
    assert "chassis.planted" in refused_imports.partition(f"\n{CHASSIS}\n---")[2].partition("\n---")[0]


@pytest.mark.parametrize(("tool", "path", "line", "said"), ILLEGAL_LINES)
def test_an_illegal_line_is_refused(tree: Path, refused_lines: str, tool: str, path: str, line: str, said: str) -> None:
    place = f"{path}:{line_number(tree / path, line)}:"
    assert any(place in refusal and said in refusal for refusal in refused_lines.splitlines())
