"""`make load` in small: customers and merchants at a running system, the audit, and a verdict that can fail."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from loadtests.ops_log import Operation, OpsLog, read_ops_logs
from loadtests.plan import MIXES
from loadtests.shop import OpenShop, Shop
from loadtests.verdict import Findings, Row

in_a_shop_of_its_own = pytest.mark.xdist_group("load")
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def shop(open_shop: OpenShop) -> Shop:
    return open_shop(BROKER="memory")


def load(folder: Path, *options: str) -> tuple[int, str]:
    """The exit code, and what is printed."""
    command = [sys.executable, "-m", "loadtests.run_load", *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return ended.returncode, ended.stdout + ended.stderr


@in_a_shop_of_its_own
def test_customers_and_merchants_leave_the_system_in_balance(shop: Shop, tmp_path: Path) -> None:
    options = with_thresholds(tmp_path, "max_error_share = 0\n[p99_ms]\naccepted = 60_000\nconfirmed = 60_000\n")
    ended, output = load(shop.folder, "--users", "8", "--spawn", "8", "--time", "10s", "--processes", "2", *options)
    assert (ended, "audit: in balance" in output, "errors: none" in output) == (0, True, True), output
    newest = max((shop.state_folder / "loads").iterdir())
    counted = Counter(it.journey for it in read_ops_logs(newest))
    assert counted["browse"] > 0
    assert counted["buy"] > 0


@in_a_shop_of_its_own
def test_a_load_that_breaks_a_threshold_ends_with_1(shop: Shop, tmp_path: Path) -> None:
    options = with_thresholds(tmp_path, "max_error_share = 0\n[p99_ms]\naccepted = 0\n")
    ended, output = load(shop.folder, "--users", "2", "--mix", "buyers", "--time", "3s", *options)
    assert (ended, "audit: in balance" in output, "p99 of accepted was" in output) == (1, True, True), output


def with_thresholds(folder: Path, text: str) -> tuple[str, str]:
    path = folder / "thresholds.toml"
    path.write_text(text)
    return "--thresholds", str(path)


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--mix", "nothing"], 1, "there is no mix nothing; there are everyday"),
        (["--users", "0"], 2, "'--users'"),
        (["--thresholds", "no.toml"], 2, "'no.toml'"),
        ([], 1, "no system is ready here"),
    ],
)
def test_what_cannot_be_a_load_is_refused_by_name(tmp_path: Path, options: list[str], code: int, words: str) -> None:
    ended, output = load(tmp_path, *options)
    assert (ended, words in output, "Traceback" in output) == (code, True, False), output


@in_a_shop_of_its_own
def test_what_locust_refuses_is_said_in_its_words(shop: Shop) -> None:
    ended, output = load(shop.folder, "--users", "1", "--time", "for ever")
    assert (ended, "Traceback" in output) == (1, False), output
    assert "Locust ended with" in output


def test_every_journey_is_in_a_mix_and_every_mix_has_journeys_only() -> None:
    modules = {path.stem for path in (ROOT / "loadtests" / "journeys").glob("*.py")}
    assert {name for mix in MIXES.values() for name in mix} == modules - {"__init__", "shopper", "locustfile"}


def test_the_ops_log_gives_back_what_was_written(tmp_path: Path) -> None:
    done = Operation("POST /checkouts", "buy", "ada", 1.5, 0.25, "ack", False, 202, "", "key", {"order_id": "1"})
    unknown = Operation("POST /checkouts", "buy", "ada", 2.5, 15.0, "unknown", True)
    for worker, operation in enumerate([done, unknown]):
        OpsLog(tmp_path, worker).write(operation)
    assert [*read_ops_logs(tmp_path)] == [done, unknown]


def test_a_percentile_is_the_nearest_rank_and_is_not_rounded() -> None:
    row = Row([0.104] * 99 + [1.0])
    assert (row.percentile_ms(99), row.percentile_ms(100)) == (104, 1000)


def test_an_error_is_what_no_journey_expects() -> None:
    refused = Operation("PUT /cart", "buy", "ada", 0, 0.1, "fail", False, 409, "cart_full")
    failed = Operation("PUT /cart", "buy", "ada", 0, 0.1, "unknown", True, 500)
    found = Findings.of([refused] * 99 + [failed])
    assert found.broken_thresholds({"max_error_share": 0.01, "p99_ms": {}}) == []
    (sentence,) = found.broken_thresholds({"max_error_share": 0.009, "p99_ms": {}})
    assert "1.00%" in sentence
    assert (found.refusals, found.errors) == (Counter(cart_full=99), Counter({"PUT /cart: 500": 1}))
