"""`run SERVICE ROLE` as a process: one line for what is wrong, any order of start, and a quick end."""

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest
import uvicorn

from chassis.brokers.kafka import KafkaBroker
from chassis.calls.auth import service_token
from chassis.database import new_id
from chassis.message import Envelope
from chassis.process.instance import UvicornServer
from chassis.process.ports import reserve_port
from chassis.testing import SERVICE_KEY, empty_database
from ledger.main import service
from ledger.messages import Book
from ledger.process import RUN, running
from ledger.waiting import until
from local.kafka import Kafka


async def last_words(folder: Path, *module: str, **settings: str) -> tuple[int | None, list[str]]:
    async with running(folder, *module, **settings) as it:
        output, _ = await asyncio.wait_for(it.process.communicate(), 30)
    return it.process.returncode, output.decode().splitlines()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, ["DATABASE_URL", "required"]),
        ({"DATABASE_URL": "postgresql://x", "PORT": "many"}, ["PORT", "integer"]),
        ({"DATABASE_URL": "postgresql://x", "LEDGER_LOG_LEVEL": "LOUD"}, ["LOG_LEVEL", "DEBUG"]),
    ],
)
async def test_a_setting_that_does_not_fit_is_one_line(
    tmp_path: Path, settings: dict[str, str], words: list[str]
) -> None:
    code, (line,) = await last_words(tmp_path, *RUN, **settings)
    assert code == 1
    assert all(word in line for word in ["ledger", *words])


async def test_a_busy_port_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        code, (line,) = await last_words(tmp_path, *RUN, DATABASE_URL="postgresql://x", PORT=port, BROKER="memory")
    assert code == 1
    assert f"port {port} is taken" in line


@pytest.mark.parametrize("wrong", [("nobody", "all"), ("ledger", "boss")])
async def test_an_unknown_service_or_role_is_refused_with_those_that_are_known(
    tmp_path: Path, wrong: tuple[str, str]
) -> None:
    code, lines = await last_words(tmp_path, RUN[0], *wrong)
    assert code == 2
    assert "ledger" in lines[-1] or "consumer" in lines[-1]


@asynccontextmanager
async def way_to_the_database(port: int) -> AsyncIterator[None]:
    """Until this is entered, nobody listens on the port."""
    there = urlsplit(os.environ["TEST_POSTGRES_URL"])

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
        finally:
            writer.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind_reader, behind_writer = await asyncio.open_connection(there.hostname, there.port)
        await asyncio.gather(copy(reader, behind_writer), copy(behind_reader, writer), return_exceptions=True)

    async with await asyncio.start_server(connect, "127.0.0.1", port):
        yield


@pytest.mark.xdist_group("kafka")
async def test_a_service_may_start_before_its_database_and_its_broker(kafka: Kafka, tmp_path: Path) -> None:
    url, port = urlsplit(await empty_database(service)), reserve_port()
    away = url._replace(netloc=url.netloc.replace(f":{url.port}", f":{port}")).geturl()
    kafka.kill()
    async with running(tmp_path, *RUN, DATABASE_URL=away, KAFKA_BOOTSTRAP_SERVERS=kafka.address) as ledger:
        await ledger.until("/livez")
        waiting = (await ledger.until("/readyz", 503))["waiting_for"]
        assert waiting.keys() >= {"schema", "database", "consumer"}
        async with way_to_the_database(port):

            async def has_database() -> bool:
                waiting = (await ledger.until("/readyz", 503))["waiting_for"].keys()
                return "consumer" in waiting and not waiting & {"schema", "database"}

            await until(has_database)
            kafka.start()
            await ledger.until("/readyz")
            code, seconds = await ledger.stop()
    assert (code, seconds < 10) == (0, True)


@pytest.mark.parametrize("role", ["api", "consumer", "relay", "worker", "beat", "all"])
async def test_every_role_ends_well_on_sigterm_even_while_its_database_is_away(tmp_path: Path, role: str) -> None:
    url = f"postgresql://ledger:x@127.0.0.1:{reserve_port()}/ledger"
    async with running(tmp_path, RUN[0], "ledger", role, DATABASE_URL=url, BROKER="memory") as ledger:
        await ledger.until("/livez")
        code, seconds = await ledger.stop()
    assert (code, seconds < 10) == (0, True)


async def test_a_request_under_way_is_answered_before_the_end(tmp_path: Path) -> None:
    url = await empty_database(service)
    async with running(tmp_path, *RUN, DATABASE_URL=url, BROKER="memory") as ledger:
        await ledger.until("/readyz")
        headers = {"authorization": f"Bearer {service_token('test', SERVICE_KEY)}"}
        async with httpx.AsyncClient(base_url=ledger.url, headers=headers, timeout=20) as client:
            asking = asyncio.create_task(client.post("/accounts/a/bookings", json={"number": 1, "pause": 2}))
            await asyncio.sleep(0.5)
            code, seconds = await ledger.stop()
            assert (await asking).status_code == 201
    assert (code, seconds < 10) == (0, True)


async def test_the_body_of_a_response_does_not_wait_for_the_acknowledgement_of_its_head() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    listener, stop = socket.create_server(("127.0.0.1", 0)), asyncio.Event()
    server = UvicornServer(uvicorn.Config(app, log_config=None, lifespan="off"), stop)
    async with asyncio.TaskGroup() as group:
        group.create_task(server.serve(sockets=[listener]))
        await until(lambda: server.started)
        _, writer = await asyncio.open_connection(*listener.getsockname())
        await until(lambda: bool(server.server_state.connections))
        (connection,) = server.server_state.connections
        accepted = connection.transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        writer.close()
        stop.set()


def test_a_reserved_port_stays_with_its_server_while_the_server_is_away() -> None:
    port = reserve_port()
    for _ in range(2):
        with socket.create_server(("127.0.0.1", port)):
            pass
    other = "import socket; socket.socket().bind(('127.0.0.1', int(input())))"  # as another `reserve_port` does
    refused = subprocess.run([sys.executable, "-c", other], input=str(port), capture_output=True, text=True)
    assert "Address already in use" in refused.stderr


async def test_the_role_migrate_ends_by_itself(tmp_path: Path) -> None:
    url = await empty_database(service)
    code, _ = await last_words(tmp_path, RUN[0], "ledger", "migrate", DATABASE_URL=url, BROKER="memory")
    assert code == 0


@pytest.mark.xdist_group("kafka")
async def test_a_topic_that_differs_ends_the_process_with_one_line(kafka: Kafka, tmp_path: Path) -> None:
    url = await empty_database(service)
    await KafkaBroker(kafka.address, "test").ensure_topics([Book.topic])
    settings = {"DATABASE_URL": url, "KAFKA_BOOTSTRAP_SERVERS": kafka.address, "KAFKA_PARTITIONS": "6"}
    code, lines = await last_words(tmp_path, *RUN, **settings)
    assert code == 1
    assert lines[-1].startswith(f"run: ledger: the topic {Book.topic} has partitions 4, not 6. ")
    assert not any("Traceback" in line for line in lines)


@pytest.mark.xdist_group("kafka")
async def test_a_stopped_service_can_be_set_back_and_nothing_happens_twice(kafka: Kafka, tmp_path: Path) -> None:
    settings = {"DATABASE_URL": await empty_database(service), "KAFKA_BOOTSTRAP_SERVERS": kafka.address}
    broker, account = KafkaBroker(kafka.address, "test"), f"set back {reserve_port()}"
    back = (RUN[0], "ledger", "rewind", "--to", "2026-01-01T00:00:00Z")
    async with running(tmp_path, *RUN, **settings) as ledger:
        await ledger.until("/readyz")
        await broker.publish([_booking(account, number) for number in range(3)])
        await until(lambda: _has(settings["DATABASE_URL"], account, [0, 1, 2]))
        code, (line,) = await last_words(tmp_path, *back, **settings)
        assert (code, line.startswith("run: ledger is where it was: the group has members")) == (1, True)
        await ledger.stop()
    code, (line,) = await last_words(tmp_path, *back, **settings)
    output = "run: ledger will receive the messages from 2026-01-01T00:00:00+00:00 on again."
    assert (code, line) == (0, f"{output} Those that its database has in the inbox change nothing.")
    assert (await broker.lag([Book.topic], "ledger"))[Book.topic] >= 3
    async with running(tmp_path, *RUN, **settings) as ledger:
        await ledger.until("/readyz")
        await broker.publish([_booking(account, 3)])
        await until(lambda: _has(settings["DATABASE_URL"], account, [0, 1, 2, 3]))
        metrics = await ledger.get("/metrics")
        assert metrics is not None
        assert sum(float(it) for it in re.findall(r"^messages_duplicate_total.* (.*)", metrics.text, re.M)) >= 3
    await broker.close()


def _booking(account: str, number: int) -> Envelope:
    book, id = Book(account=account, number=number), new_id()
    return Envelope(
        book.topic, book.key, id, book.wire_type, "test", datetime.now(UTC), book.model_dump_json().encode(), ""
    )


async def _has(url: str, account: str, history: list[int]) -> bool:
    connection = await asyncpg.connect(url)
    found = await connection.fetchval("SELECT history FROM accounts WHERE id = $1", account)
    await connection.close()
    return found is not None and json.loads(found) == history


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("ledger", "rewind"), "--to"),
        (("all", "rewind", "--to", "2026-01-01T00:00:00Z"), "one service"),
        (("ledger", "consumer", "--to", "2026-01-01T00:00:00Z"), "--to"),
        (("ledger", "rewind", "--to", "2026-01-01T00:00:00"), "no time with a zone"),
        (("ledger", "rewind", "--to", "yesterday"), "no time with a zone"),
    ],
)
async def test_a_moment_to_set_back_to_has_a_service_and_a_zone(
    tmp_path: Path, arguments: tuple[str, ...], word: str
) -> None:
    code, lines = await last_words(tmp_path, RUN[0], *arguments)
    assert code == 2
    assert word in lines[-1]
