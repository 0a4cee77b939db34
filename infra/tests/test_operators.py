"""`dead-letters`, `messages` and `lag` with a real service behind a real Envoy, beside a service that does not run."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from chassis.brokers.kafka import KafkaBroker
from chassis.brokers.pulsar import PulsarBroker
from chassis.database import new_id
from chassis.process.ports import reserve_port
from chassis.testing import Launch, Launched
from cli import _system, app
from contracts.product import Line, ReserveStock, RestockItems, StockRejected
from local import state
from product.main import service

from .fake_system import running_system

ORDER = new_id()
LINES = [Line(product_id=new_id(), quantity=1)]
# The first fails, because no goods of this order have left; the second waits behind it.
POISON = RestockItems(order_id=ORDER, return_id=new_id(), lines=LINES)
BEHIND = ReserveStock(order_id=ORDER, lines=LINES)


@asynccontextmanager
async def behind_a_gateway(
    launched: Launched, folder: Path, monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> AsyncIterator[Launched]:
    """The commands find a system with these services, of which only product runs."""
    monkeypatch.setattr(_system, "installed_names", lambda: names)
    urls = {name: f"http://127.0.0.1:{reserve_port()}" for name in ("user", *names)} | {"product": launched.url}
    async with running_system(service, urls, folder, monkeypatch):
        yield launched


@pytest.fixture
async def product(launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Launched]:
    async with behind_a_gateway(await launch(service), tmp_path, monkeypatch, ["product"]) as launched:
        yield launched


@pytest.fixture
async def beside_payment(launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Launched]:
    """Product runs, payment does not."""
    async with behind_a_gateway(await launch(service), tmp_path, monkeypatch, ["payment", "product"]) as launched:
        yield launched


async def command(*words: str, answer: str = "") -> Result:
    return await asyncio.to_thread(lambda: CliRunner().invoke(app, list(words), input=answer))


async def json_of(*words: str) -> Any:
    """The JSON that a command prints."""
    result = await command(*words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


async def test_a_dead_letter_is_listed_and_shown_with_its_body(product: Launched) -> None:
    await product.send(POISON, BEHIND)
    first, second = await json_of("dead-letters", "list")
    assert [it["type"] for it in (first, second)] == [RestockItems.wire_type, ReserveStock.wire_type]
    assert RestockItems.wire_type in (await command("dead-letters", "list", "product")).stdout
    by_key = await json_of("dead-letters", "show", "product", str(ORDER))
    assert {"service": "product", **by_key} == first
    assert RestockItems.model_validate_json(by_key["body"]) == POISON
    assert {"service": "product", **await json_of("dead-letters", "show", "product", second["id"])} == second
    assert await json_of("dead-letters", "list", "product", "--after", str(first["position"])) == [second]
    shown = await command("dead-letters", "show", "product", str(ORDER))
    assert str(POISON.return_id) in shown.stdout
    assert "1 wait behind it" in shown.stdout


async def test_a_dropped_message_is_printed_and_the_rest_is_replayed(product: Launched) -> None:
    await product.send(POISON, BEHIND)
    refused = await command("dead-letters", "drop", "product", str(ORDER), answer="n\n")
    assert refused.exit_code == 1
    assert len(await json_of("dead-letters", "list")) == 2
    dropped = await command("dead-letters", "drop", "product", str(ORDER), answer="y\n")
    assert (dropped.exit_code, str(POISON.return_id) in dropped.stdout) == (0, True)
    assert f"dead-letters replay product {ORDER}" in dropped.stdout
    assert await json_of("dead-letters", "replay", "product", str(ORDER)) == {"replayed": 1}
    await product.settled()
    assert [it.key for it in await product.sent(StockRejected)] == [str(ORDER)]
    assert (await command("dead-letters", "list")).stdout == "There are no dead letters.\n"


async def test_a_dropped_message_is_json_for_a_program(product: Launched) -> None:
    await product.send(POISON)
    dropped = await json_of("dead-letters", "drop", "product", str(ORDER), "--yes")
    assert RestockItems.model_validate_json(dropped["body"]) == POISON


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["dead-letters", "list", "nobody"], "there is no service nobody"),
        (["dead-letters", "list", "--after", "1"], "--after needs a service"),
        (["dead-letters", "show", "nobody", "a"], "there is no service nobody"),
        (["dead-letters", "show", "product", "a"], "no dead letter with the key or id a"),
        (["dead-letters", "drop", "product", "a", "--yes"], "no dead letter with the key or id a"),
        (["dead-letters", "replay", "product", "a"], "under this key"),
        (["messages", "tail", "--type", "StockReserve"], "StockReserved"),
        (["messages", "tail", "--service", "nobody"], "there is no service nobody"),
        (["messages", "trace", str(ORDER)], "no service has a message"),
        (["lag", "nobody"], "there is no service nobody"),
    ],
)
@pytest.mark.usefixtures("product")
async def test_a_command_that_cannot_be_carried_out_is_one_line(words: list[str], error: str) -> None:
    result = await command(*words)
    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (1, "", 1)
    assert error in result.stderr


async def test_a_trace_shows_what_was_sent_and_who_handles_it(product: Launched) -> None:
    envelope = product.envelope(BEHIND)
    await product.send(envelope)
    (sent,) = await json_of("messages", "trace", str(ORDER))
    assert (sent["type"], sent["causation_id"], sent["depth"]) == (StockRejected.wire_type, str(envelope.id), 0)
    assert (sent["source"], sent["handled"]) == ("product", [])
    shown = await command("messages", "trace", str(ORDER))
    assert StockRejected.wire_type in shown.stdout


async def test_lag_shows_each_topic_and_the_outbox(product: Launched) -> None:
    await product.send(BEHIND)
    found = await json_of("lag")
    assert found == {
        "product": {
            "topics": {BEHIND.topic: 0},
            "outage": None,
            "outbox": {"messages": 0, "oldest_seconds": None},
        }
    }
    assert BEHIND.topic in (await command("lag", "product")).stdout


@pytest.mark.parametrize(
    "words",
    [["lag"], ["dead-letters", "list"], ["messages", "trace", str(ORDER)]],
    ids=["lag", "dead-letters", "trace"],
)
async def test_a_service_that_does_not_answer_is_named_and_the_others_are_shown(
    beside_payment: Launched, words: list[str]
) -> None:
    await beside_payment.send(BEHIND, POISON)
    result = await command(*words)
    (line,) = result.stderr.splitlines()
    assert result.exit_code == 1
    assert "payment does not answer" in line
    assert "the others are shown" in line
    assert "product" in result.stdout
    assert "product" in (await command(*words, "--json")).stdout


def unreachable_broker(name: str) -> Any:
    """A broker at a port without a listener."""
    address = f"127.0.0.1:{reserve_port()}"
    return (
        KafkaBroker(address, "product") if name == "kafka" else PulsarBroker(f"pulsar://{address}", f"http://{address}")
    )


@pytest.mark.parametrize("name", ["kafka", "pulsar"])
async def test_a_broker_that_is_away_is_one_line_and_what_waits_is_shown(
    launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    api = await launch(service, unreachable_broker(name), role="api")
    async with behind_a_gateway(api, tmp_path, monkeypatch, ["product"]):
        async with api.instance.database.work() as work:
            await work.begin()
            work.send(StockRejected(order_id=ORDER, product_ids=[]))
        for words, shown in ((["lag"], "1"), (["messages", "trace", str(ORDER)], "waits in the outbox of product")):
            result = await command(*words)
            (line,) = result.stderr.splitlines()
            assert "the broker is away" in line
            assert (result.exit_code, shown in result.stdout) == (1, True)
        lag = json.loads((await command("lag", "--json")).stdout)
        assert (lag["product"]["topics"], lag["product"]["outbox"]["messages"]) == (None, 1)


async def test_the_tail_shows_the_wanted_messages_until_it_is_interrupted(
    product: Launched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = state.running_system()
    assert system is not None
    (tmp_path / ".agora").mkdir()
    monkeypatch.chdir(tmp_path)
    state.write_running_system(system)
    words = ["messages", "tail", "--service", "product", "--type", "StockRejected", "--json"]
    tail = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cli", *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert tail.stdout is not None
    assert tail.stderr is not None
    try:
        assert b"watching product" in await asyncio.wait_for(tail.stderr.readline(), 60)
        orders = [new_id() for _ in range(3)]
        for order_id in orders:
            await product.send(ReserveStock(order_id=order_id, lines=LINES))
        lines = [json.loads(await asyncio.wait_for(tail.stdout.readline(), 60)) for _ in orders]
        assert [(it["type"], it["key"]) for it in lines] == [(StockRejected.wire_type, str(it)) for it in orders]
        tail.send_signal(signal.SIGINT)
        rest, errors = await asyncio.wait_for(tail.communicate(), 60)
        assert (tail.returncode, rest, errors) == (0, b"", b"")
    finally:
        if tail.returncode is None:
            tail.kill()
            await tail.wait()
