"""`parked`, `messages` and `lag` against a real service behind a real Envoy, beside one that does not run."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner, Result

import gateway
from chassis.messaging.kafka import KafkaBroker
from chassis.messaging.pulsar import PulsarBroker
from chassis.tables import new_id
from chassis.testing import SERVICE_KEY, Launch, Launched
from cli import _system, app
from contracts.product import Line, ReserveStock, RestockItems, StockRejected
from gateway.exposed import openapi
from local import state
from local.envoy import Envoy
from local.server import free_port
from product.main import service

ORDER = new_id()
LINES = [Line(product_id=new_id(), quantity=1)]
# The first is parked, because nothing of this order has left; the second waits behind it.
POISON = RestockItems(order_id=ORDER, return_id=new_id(), lines=LINES)
BEHIND = ReserveStock(order_id=ORDER, lines=LINES)


async def behind_a_gateway(
    it: Launched, folder: Path, monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> AsyncIterator[Launched]:
    """Let the commands find a system of which only the one service runs."""
    monkeypatch.setattr(_system, "installed_names", lambda: names)
    ports = gateway.Ports(*[free_port() for _ in range(4)])
    urls = {name: f"http://127.0.0.1:{free_port()}" for name in ("user", *names)} | {"product": it.url}
    parts = [gateway.ExposedService.of(name, openapi(service)) for name in urls]
    config = gateway.build_config(ports, urls, parts=parts, service_key=SERVICE_KEY)
    told = state.RunningSystem(
        os.getpid(), None, "memory", {"internal": f"http://127.0.0.1:{ports.internal}"}, SERVICE_KEY, {}  # type: ignore[arg-type]
    )  # fmt: skip
    monkeypatch.setattr(state, "running", lambda: told)
    async with Envoy(folder, ports.admin, config=config):
        yield it


@pytest.fixture
async def product(launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Launched]:
    async for it in behind_a_gateway(await launch(service), tmp_path, monkeypatch, ["product"]):
        yield it


@pytest.fixture
async def beside_payment(launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Launched]:
    """Product runs, payment does not."""
    async for it in behind_a_gateway(await launch(service), tmp_path, monkeypatch, ["payment", "product"]):
        yield it


async def command(*words: str, answer: str = "") -> Result:
    return await asyncio.to_thread(lambda: CliRunner().invoke(app, list(words), input=answer))


async def told(*words: str) -> Any:
    """What a command says to a program."""
    result = await command(*words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


async def test_a_parked_message_is_listed_and_shown_with_its_body(product: Launched) -> None:
    await product.send(POISON, BEHIND)
    first, second = await told("parked", "list")
    assert [it["type"] for it in (first, second)] == [RestockItems.wire_type, ReserveStock.wire_type]
    assert RestockItems.wire_type in (await command("parked", "list", "product")).stdout
    by_key = await told("parked", "show", "product", str(ORDER))
    assert {"service": "product", **by_key} == first
    assert RestockItems.model_validate_json(by_key["body"]) == POISON
    assert {"service": "product", **await told("parked", "show", "product", second["id"])} == second
    shown = await command("parked", "show", "product", str(ORDER))
    assert str(POISON.return_id) in shown.stdout
    assert "1 wait behind it" in shown.stdout


async def test_what_is_dropped_is_said_and_the_rest_is_replayed(product: Launched) -> None:
    await product.send(POISON, BEHIND)
    refused = await command("parked", "drop", "product", str(ORDER), answer="n\n")
    assert refused.exit_code == 1
    assert len(await told("parked", "list")) == 2
    dropped = await command("parked", "drop", "product", str(ORDER), answer="y\n")
    assert (dropped.exit_code, str(POISON.return_id) in dropped.stdout) == (0, True)
    assert f"parked replay product {ORDER}" in dropped.stdout
    assert await told("parked", "replay", "product", str(ORDER)) == {"replayed": 1}
    await product.settled()
    assert [it.key for it in await product.sent(StockRejected)] == [str(ORDER)]
    assert (await command("parked", "list")).stdout == "No message is parked.\n"


async def test_what_is_dropped_is_there_for_a_program(product: Launched) -> None:
    await product.send(POISON)
    dropped = await told("parked", "drop", "product", str(ORDER), "--yes")
    assert RestockItems.model_validate_json(dropped["body"]) == POISON


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["parked", "list", "nobody"], "there is no service nobody"),
        (["parked", "show", "nobody", "a"], "there is no service nobody"),
        (["parked", "show", "product", "a"], "no parked message with the key or id a"),
        (["parked", "drop", "product", "a", "--yes"], "no parked message with the key or id a"),
        (["parked", "replay", "product", "a"], "No message is parked under this key"),
        (["messages", "tail", "--type", "StockReserve"], "StockReserved"),
        (["messages", "tail", "--service", "nobody"], "there is no service nobody"),
        (["messages", "trace", str(ORDER)], "no service remembers a message"),
        (["lag", "nobody"], "there is no service nobody"),
    ],
)
@pytest.mark.usefixtures("product")
async def test_what_cannot_be_done_is_one_line(words: list[str], said: str) -> None:
    result = await command(*words)
    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (1, "", 1)
    assert said in result.stderr


async def test_a_trace_tells_what_was_sent_who_handles_it_and_what_is_parked(product: Launched) -> None:
    envelope = product.envelope(BEHIND)
    await product.send(envelope)
    (sent,) = await told("messages", "trace", str(ORDER))
    assert (sent["type"], sent["causation_id"], sent["depth"]) == (StockRejected.wire_type, str(envelope.id), 0)
    assert (sent["source"], sent["handled"]) == ("product", [])
    shown = await command("messages", "trace", str(ORDER))
    assert StockRejected.wire_type in shown.stdout


async def test_lag_tells_each_topic_and_the_outbox(product: Launched) -> None:
    await product.send(BEHIND)
    found = await told("lag")
    assert found == {
        "product": {
            "topics": {BEHIND.topic: 0},
            "trouble": None,
            "outbox": {"messages": 0, "oldest_seconds": None},
        }
    }
    assert BEHIND.topic in (await command("lag", "product")).stdout


@pytest.mark.parametrize(
    "words", [["lag"], ["parked", "list"], ["messages", "trace", str(ORDER)]], ids=["lag", "parked", "trace"]
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


def with_nobody_there(name: str) -> Any:
    """A broker at a port at which nobody listens."""
    address = f"127.0.0.1:{free_port()}"
    return (
        KafkaBroker(address, "product") if name == "kafka" else PulsarBroker(f"pulsar://{address}", f"http://{address}")
    )


@pytest.mark.parametrize("name", ["kafka", "pulsar"])
async def test_while_the_broker_is_away_that_is_one_line_and_what_waits_is_shown(
    launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    api = await launch(service, with_nobody_there(name), role="api")
    async for it in behind_a_gateway(api, tmp_path, monkeypatch, ["product"]):
        async with it.instance.database.work() as work:
            await work.begin()
            work.send(StockRejected(order_id=ORDER, product_ids=[]))
        for words, said in ((["lag"], "1"), (["messages", "trace", str(ORDER)], "waits in the outbox of product")):
            result = await command(*words)
            (line,) = result.stderr.splitlines()
            assert "the broker is away" in line
            assert (result.exit_code, said in result.stdout) == (1, True)
        told = json.loads((await command("lag", "--json")).stdout)
        assert (told["product"]["topics"], told["product"]["outbox"]["messages"]) == (None, 1)


async def test_the_tail_shows_what_is_wanted_until_it_is_interrupted(
    product: Launched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = state.running()
    assert told is not None
    (tmp_path / ".agora").mkdir()
    monkeypatch.chdir(tmp_path)
    state.write(state.RunningSystem(**asdict(told) | {"born": psutil.Process().create_time(), "children": []}))
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
        rest, complaints = await asyncio.wait_for(tail.communicate(), 60)
        assert (tail.returncode, rest, complaints) == (0, b"", b"")
    finally:
        if tail.returncode is None:
            tail.kill()
            await tail.wait()
