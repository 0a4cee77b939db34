"""Streams of an order's updates: complete, in order and resumable, also when Valkey or the server stops."""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import httpx
import pytest

from aggregator import streams
from chassis.brokers.memory import MemoryBroker
from chassis.database import new_id
from chassis.process.instance import Instance
from chassis.process.ports import reserve_port
from chassis.testing import Launch, Launched, token
from contracts.order import (
    OrderCancelled,
    OrderConfirmed,
    OrderDelivered,
    OrderEvent,
    OrderPlaced,
    OrderRefunded,
    OrderReserved,
    OrderShipped,
)
from ledger.fakes import problem
from local.valkey import Valkey

from .conftest import ADA, API, Harness, life, order_state, running_harness, step_of, view_of

NEVER_POLLED = 600


@pytest.fixture
async def harness(launch: Launch, valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Harness]:
    """Streams here depend on notifications, because they never poll."""
    async with running_harness(launch, monkeypatch, valkey, STREAM_POLL_SECONDS=NEVER_POLLED) as harness:
        yield harness


@dataclass
class StreamReader:
    """A client that reads a stream event by event."""

    response: httpx.Response
    events: asyncio.Queue[dict[str, str] | None] = field(default_factory=asyncio.Queue)

    async def read(self) -> None:
        event: dict[str, str] = {}
        async for line in self.response.aiter_lines():
            name, _, value = line.partition(": ")
            if not line and event:
                await self.events.put(event)
                event = {}
            elif line and name:
                event[name] = value
        await self.events.put(None)

    async def next(self) -> dict[str, str]:
        event = await asyncio.wait_for(self.events.get(), 10)
        assert event is not None, "the stream has ended"
        return event

    async def step(self) -> dict[str, Any]:
        """The step of the next event. The event's id is the step's version."""
        event = await self.next()
        step: dict[str, Any] = json.loads(event["data"])["step"]
        assert event["id"] == str(step["version"])
        return step

    async def rest(self) -> list[dict[str, str]]:
        """The events that are left until the server ends the stream."""
        found = []
        while (event := await asyncio.wait_for(self.events.get(), 10)) is not None:
            found.append(event)
        return found


@asynccontextmanager
async def streamed(
    url: str, id: UUID, last_event_id: int | None = None, caller: str | None = None
) -> AsyncIterator[StreamReader]:
    headers = {"authorization": f"Bearer {caller or token(ADA, 'customer')}"}
    if last_event_id is not None:
        headers["last-event-id"] = str(last_event_id)
    async with (
        httpx.AsyncClient(base_url=url, headers=headers, timeout=10, verify=False) as client,
        client.stream("GET", f"{API}/orders/{id}/stream") as response,
    ):
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        reader = StreamReader(response)
        reading = asyncio.create_task(reader.read())
        try:
            yield reader
        finally:
            reading.cancel()


@asynccontextmanager
async def another_api(harness: Harness) -> AsyncIterator[Instance]:
    """A second instance on the same database, in the role `api`."""
    settings = harness.aggregator.instance.settings.model_copy(update={"port": reserve_port()})
    instance = Instance(harness.aggregator.instance.service, settings, MemoryBroker())
    running = asyncio.create_task(instance.run("api"))
    async with httpx.AsyncClient(verify=False) as client:
        for _ in range(1000):
            try:
                await client.get(f"{url_of(instance)}/livez")
                break
            except httpx.TransportError:
                await asyncio.sleep(0.01)
    try:
        yield instance
    finally:
        instance.stop.set()
        await running


def url_of(instance: Instance) -> str:
    return f"http://127.0.0.1:{instance.settings.port}"


async def test_updates_arrive_as_they_happen_and_the_last_one_ends_the_stream(harness: Harness) -> None:
    placed, *later = life(new_id(), OrderPlaced, OrderReserved, OrderConfirmed, OrderShipped, OrderDelivered)
    await harness.aggregator.send(placed)
    async with streamed(harness.aggregator.url, placed.order_id) as stream:
        first = await stream.next()
        assert json.loads(first["data"]) == {"step": step_of(placed), "order": view_of(placed)}
        for event in later:
            await harness.aggregator.send(event)
            assert await stream.step() == step_of(event)
        (last,) = await stream.rest()
    assert last.keys() == {"retry"}


async def test_a_stream_begins_with_the_steps_after_the_last_event_id(harness: Harness) -> None:
    events = life(new_id(), OrderPlaced, OrderReserved, OrderConfirmed, OrderShipped, OrderDelivered)
    await harness.aggregator.send(events[2], *events, events[0])
    for seen in range(5):
        async with streamed(harness.aggregator.url, events[0].order_id, seen) as stream:
            assert [event.get("id") for event in await stream.rest()] == [*map(str, range(seen + 1, 6)), None]


async def test_after_the_last_event_the_response_is_204(harness: Harness) -> None:
    """It makes browsers stop requesting the stream. A refund after that is streamed again."""
    events = life(new_id(), OrderPlaced, OrderDelivered, OrderRefunded)
    id = events[0].order_id
    await harness.aggregator.send(*events[:2])
    async with harness.as_ada() as client:
        answer = await client.get(f"{API}/orders/{id}/stream", headers={"last-event-id": "2"})
        assert (answer.status_code, answer.content) == (204, b"")
        await harness.aggregator.send(events[2])
        assert "id: 3" in (await client.get(f"{API}/orders/{id}/stream", headers={"last-event-id": "2"})).text
        bad = await client.get(f"{API}/orders/{id}/stream", headers={"last-event-id": "x"})
    assert (bad.status_code, bad.json()["errors"][0]["field"]) == (422, "Last-Event-ID")


async def test_an_order_can_be_streamed_before_its_first_event_arrives(harness: Harness) -> None:
    placed = order_state(OrderPlaced, 1, new_id())
    harness.order.answers["GET", f"/orders/{placed.order_id}"] = (200, view_of(placed))
    async with streamed(harness.aggregator.url, placed.order_id) as stream:
        await harness.aggregator.send(placed)
        assert await stream.step() == step_of(placed)


async def test_a_stream_is_open_to_the_customer_and_to_staff(harness: Harness) -> None:
    order, unknown = order_state(OrderCancelled, 1, new_id()), new_id()
    await harness.aggregator.send(order)
    harness.order.answers["GET", f"/orders/{unknown}"] = (404, problem(404, "order_not_found"))
    callers = {
        harness.aggregator.as_customer(ADA): 200,
        harness.aggregator.as_customer(): 404,
        harness.with_role("staff"): 200,
        harness.aggregator.client(): 401,
    }
    for client, status in callers.items():
        async with client:
            assert (await client.get(f"{API}/orders/{order.order_id}/stream")).status_code == status
    await harness.get(f"/orders/{unknown}/stream", 404)


async def test_a_change_reaches_streams_of_every_instance(harness: Harness) -> None:
    events = life(new_id(), OrderPlaced, OrderReserved, OrderConfirmed)
    id = events[0].order_id
    async with another_api(harness) as other:
        await harness.aggregator.send(events[0])
        async with streamed(harness.aggregator.url, id) as here, streamed(url_of(other), id) as there:
            for event in events:
                await harness.aggregator.send(event)
                assert await here.step() == await there.step() == step_of(event)


async def test_nothing_is_missed_or_doubled_across_a_restart_of_valkey(
    launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds: list[type[OrderEvent]] = [OrderPlaced, OrderReserved, OrderConfirmed, OrderShipped, OrderDelivered]
    first, second, third, fourth, fifth = life(new_id(), *kinds)
    async with (
        Valkey.temporary() as valkey,
        running_harness(launch, monkeypatch, valkey, STREAM_POLL_SECONDS=0.2) as harness,
    ):
        await harness.aggregator.send(first)
        async with streamed(harness.aggregator.url, first.order_id) as stream:
            assert await stream.step() == step_of(first)
            valkey.kill()
            await harness.aggregator.send(second)
            assert await stream.step() == step_of(second)
            await asyncio.to_thread(valkey.start)
            await harness.aggregator.send(third, third)
            assert await stream.step() == step_of(third)
            valkey.kill()
            await harness.aggregator.send(fourth, fifth)
            assert [int(event["id"]) for event in await stream.rest() if "id" in event] == [4, 5]


async def test_while_valkey_hangs_updates_only_arrive_later(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    placed, reserved = life(new_id(), OrderPlaced, OrderReserved)
    async with (
        Valkey.temporary() as valkey,
        running_harness(launch, monkeypatch, valkey, STREAM_POLL_SECONDS=0.2) as harness,
    ):
        assert valkey.process is not None
        os.kill(valkey.process.pid, signal.SIGSTOP)
        try:
            await harness.aggregator.send(placed)
            async with streamed(harness.aggregator.url, placed.order_id) as stream:
                assert await stream.step() == step_of(placed)
                await harness.aggregator.send(reserved)
                assert await stream.step() == step_of(reserved)
        finally:
            os.kill(valkey.process.pid, signal.SIGCONT)


async def test_notifications_arrive_again_after_a_restart_of_valkey(
    launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Changes that were published in between are read from the table when the subscription is back."""
    events = life(new_id(), OrderPlaced, OrderReserved, OrderConfirmed)
    async with (
        Valkey.temporary() as valkey,
        running_harness(launch, monkeypatch, valkey, STREAM_POLL_SECONDS=NEVER_POLLED) as harness,
    ):
        await harness.aggregator.send(events[0])
        async with streamed(harness.aggregator.url, events[0].order_id) as stream:
            assert await stream.step() == step_of(events[0])
            valkey.kill()
            await harness.aggregator.send(events[1])
            await asyncio.to_thread(valkey.start)
            assert await stream.step() == step_of(events[1])
            await harness.aggregator.send(events[2])
            assert await stream.step() == step_of(events[2])


async def test_a_stream_outlives_the_request_time_out_and_sends_comments(
    launch: Launch, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed, reserved = life(new_id(), OrderPlaced, OrderReserved)
    settings: dict[str, Any] = {"STREAM_POLL_SECONDS": 0.5, "REQUEST_TIMEOUT_SECONDS": 2}
    async with running_harness(launch, monkeypatch, valkey, **settings) as harness:
        await harness.aggregator.send(placed)
        headers = {"authorization": f"Bearer {token(ADA, 'customer')}"}
        async with (
            httpx.AsyncClient(base_url=harness.aggregator.url, headers=headers, timeout=10, verify=False) as client,
            client.stream("GET", f"{API}/orders/{placed.order_id}/stream") as response,
        ):
            lines = response.aiter_lines()
            comments = 0
            while comments < 6:  # half a second each
                comments += (await anext(lines)).startswith(":")
            await harness.aggregator.send(reserved)
            while await anext(lines) != "id: 2":
                pass


async def test_no_connection_to_the_database_is_held_while_a_client_waits(
    launch: Launch, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"STREAM_POLL_SECONDS": NEVER_POLLED, "DATABASE_POOL_SIZE": 2}
    async with running_harness(launch, monkeypatch, valkey, **settings) as harness:
        orders = [order_state(OrderPlaced, 1, new_id()) for _ in range(10)]
        await harness.aggregator.send(*orders)
        async with asyncio.TaskGroup() as group:
            readers = [group.create_task(_read_to_the_end(harness.aggregator, order)) for order in orders]
            while any(not it.done() for it in readers):
                await harness.aggregator.send(*[order_state(OrderCancelled, 2, order.order_id) for order in orders])
        assert [it.result() for it in readers] == [["1", "2"]] * 10


async def _read_to_the_end(aggregator: Launched, order: OrderEvent) -> list[str]:
    async with streamed(aggregator.url, order.order_id) as stream:
        return [event["id"] for event in await stream.rest() if "id" in event]


async def test_a_stream_ends_when_the_server_stops(harness: Harness) -> None:
    placed = order_state(OrderPlaced, 1, new_id())
    await harness.aggregator.send(placed)
    async with another_api(harness) as other, streamed(url_of(other), placed.order_id) as stream:
        assert await stream.step() == step_of(placed)
        other.stop.set()
        (last,) = await stream.rest()
    assert last.keys() == {"retry"}


async def test_a_stream_ends_when_its_token_expires(
    launch: Launch, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed = order_state(OrderPlaced, 1, new_id())
    async with running_harness(launch, monkeypatch, valkey, STREAM_POLL_SECONDS=0.1) as harness:
        await harness.aggregator.send(placed)
        async with streamed(harness.aggregator.url, placed.order_id) as stream:
            assert await stream.step() == step_of(placed)
            later = time.time() + 3600  # the token of the tests expires in ten minutes
            monkeypatch.setattr(streams, "time", SimpleNamespace(time=lambda: later))
            (last,) = await stream.rest()
    assert last.keys() == {"retry"}
