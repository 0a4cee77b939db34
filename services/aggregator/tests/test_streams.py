"""Streams of an order's moves: complete, in order and resumable, whatever becomes of Valkey and of the server."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx
import pytest

from chassis.brokers.memory import MemoryBroker
from chassis.database import new_id
from chassis.process.instance import Instance
from chassis.testing import Launch, Launched, free_port, token
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
from local.valkey import Valkey

from .conftest import ADA, API, Shop, emptied, life, order_state, problem, running, step_of, view_of

NEVER_POLLED = 600


@pytest.fixture
async def shop(launch: Launch, valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shop]:
    """Streams here hear the news or nothing."""
    await emptied(valkey)
    async with running(launch, monkeypatch, valkey.url, STREAM_POLL_SECONDS=NEVER_POLLED) as shop:
        yield shop


@dataclass
class Stream:
    """What a client reads, event by event."""

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
        """The step of the next event, which has its version as id."""
        event = await self.next()
        step: dict[str, Any] = json.loads(event["data"])["step"]
        assert event["id"] == str(step["version"])
        return step

    async def rest(self) -> list[dict[str, str]]:
        """What comes until the server ends it."""
        found = []
        while (event := await asyncio.wait_for(self.events.get(), 10)) is not None:
            found.append(event)
        return found


@asynccontextmanager
async def streamed(url: str, id: UUID, seen: int | None = None, caller: str | None = None) -> AsyncIterator[Stream]:
    headers = {"authorization": f"Bearer {caller or token(ADA, 'customer')}"}
    if seen is not None:
        headers["last-event-id"] = str(seen)
    async with (
        httpx.AsyncClient(base_url=url, headers=headers, timeout=10, verify=False) as client,
        client.stream("GET", f"{API}/orders/{id}/stream") as response,
    ):
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        stream = Stream(response)
        reading = asyncio.create_task(stream.read())
        try:
            yield stream
        finally:
            reading.cancel()


@asynccontextmanager
async def another_api(shop: Shop) -> AsyncIterator[Instance]:
    """A second instance on the same database, which only answers requests."""
    settings = shop.aggregator.instance.settings.model_copy(update={"port": free_port()})
    instance = Instance(shop.aggregator.instance.service, settings, MemoryBroker())
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


async def test_moves_arrive_as_they_happen_and_the_last_one_ends_it(shop: Shop) -> None:
    placed, *later = life(new_id(), OrderPlaced, OrderReserved, OrderConfirmed, OrderShipped, OrderDelivered)
    await shop.aggregator.send(placed)
    async with streamed(shop.aggregator.url, placed.order_id) as stream:
        event = await stream.next()
        assert json.loads(event["data"]) == {"step": step_of(placed), "order": view_of(placed)}
        for move in later:
            await shop.aggregator.send(move)
            assert await stream.step() == step_of(move)
        (last,) = await stream.rest()
    assert last.keys() == {"retry"}


async def test_who_comes_late_gets_all_of_it_and_who_comes_again_the_rest(shop: Shop) -> None:
    events = life(new_id(), OrderPlaced, OrderReserved, OrderConfirmed, OrderShipped, OrderDelivered)
    await shop.aggregator.send(events[2], *events, events[0])
    for seen in range(5):
        async with streamed(shop.aggregator.url, events[0].order_id, seen) as stream:
            assert [event.get("id") for event in await stream.rest()] == [*map(str, range(seen + 1, 6)), None]


async def test_it_is_over_when_nothing_more_can_come(shop: Shop) -> None:
    """A browser would ask for ever: 204 tells it not to. A refund is news again."""
    events = life(new_id(), OrderPlaced, OrderDelivered, OrderRefunded)
    id = events[0].order_id
    await shop.aggregator.send(*events[:2])
    async with shop.as_ada() as client:
        answer = await client.get(f"{API}/orders/{id}/stream", headers={"last-event-id": "2"})
        assert (answer.status_code, answer.content) == (204, b"")
        await shop.aggregator.send(events[2])
        assert "id: 3" in (await client.get(f"{API}/orders/{id}/stream", headers={"last-event-id": "2"})).text
        bad = await client.get(f"{API}/orders/{id}/stream", headers={"last-event-id": "x"})
    assert (bad.status_code, bad.json()["errors"][0]["field"]) == (422, "last-event-id")


async def test_an_order_just_placed_can_be_followed_before_it_is_announced(shop: Shop) -> None:
    placed = order_state(OrderPlaced, 1, new_id())
    shop.order.answers["GET", f"/orders/{placed.order_id}"] = (200, view_of(placed))
    async with streamed(shop.aggregator.url, placed.order_id) as stream:
        await shop.aggregator.send(placed)
        assert await stream.step() == step_of(placed)


async def test_only_its_owner_and_staff_may_follow_an_order(shop: Shop) -> None:
    order, unseen = order_state(OrderCancelled, 1, new_id()), new_id()
    await shop.aggregator.send(order)
    shop.order.answers["GET", f"/orders/{unseen}"] = (404, problem(404, "order_not_found"))
    callers = {
        shop.aggregator.as_customer(ADA): 200,
        shop.aggregator.as_customer(): 404,
        shop.aggregator.as_staff(): 200,
        shop.aggregator.client(): 401,
    }
    for client, status in callers.items():
        async with client:
            assert (await client.get(f"{API}/orders/{order.order_id}/stream")).status_code == status
    await shop.get(f"/orders/{unseen}/stream", 404)


async def test_every_instance_passes_on_what_any_consumer_noticed(shop: Shop) -> None:
    events = life(new_id(), OrderPlaced, OrderReserved, OrderConfirmed)
    id = events[0].order_id
    async with another_api(shop) as other:
        await shop.aggregator.send(events[0])
        async with streamed(shop.aggregator.url, id) as here, streamed(url_of(other), id) as there:
            for event in events:
                await shop.aggregator.send(event)
                assert await here.step() == await there.step() == step_of(event)


async def test_nothing_is_missed_or_doubled_across_a_restart_of_valkey(
    launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds: list[type[OrderEvent]] = [OrderPlaced, OrderReserved, OrderConfirmed, OrderShipped, OrderDelivered]
    first, second, third, fourth, fifth = life(new_id(), *kinds)
    async with (
        Valkey.temporary() as valkey,
        running(launch, monkeypatch, valkey.url, STREAM_POLL_SECONDS=0.2) as shop,
    ):
        await shop.aggregator.send(first)
        async with streamed(shop.aggregator.url, first.order_id) as stream:
            assert await stream.step() == step_of(first)
            valkey.kill()
            await shop.aggregator.send(second)
            assert await stream.step() == step_of(second)
            await asyncio.to_thread(valkey.start)
            await shop.aggregator.send(third, third)
            assert await stream.step() == step_of(third)
            valkey.kill()
            await shop.aggregator.send(fourth, fifth)
            assert [int(event["id"]) for event in await stream.rest() if "id" in event] == [4, 5]


async def test_while_valkey_hangs_moves_only_come_later(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    placed, reserved = life(new_id(), OrderPlaced, OrderReserved)
    async with (
        Valkey.temporary() as valkey,
        running(launch, monkeypatch, valkey.url, STREAM_POLL_SECONDS=0.2) as shop,
    ):
        assert valkey.process is not None
        os.kill(valkey.process.pid, signal.SIGSTOP)
        try:
            await shop.aggregator.send(placed)
            async with streamed(shop.aggregator.url, placed.order_id) as stream:
                assert await stream.step() == step_of(placed)
                await shop.aggregator.send(reserved)
                assert await stream.step() == step_of(reserved)
        finally:
            os.kill(valkey.process.pid, signal.SIGCONT)


async def test_news_are_heard_again_after_a_restart_of_valkey(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was said while nobody listened is looked up when the line stands again."""
    events = life(new_id(), OrderPlaced, OrderReserved, OrderConfirmed)
    async with (
        Valkey.temporary() as valkey,
        running(launch, monkeypatch, valkey.url, STREAM_POLL_SECONDS=NEVER_POLLED) as shop,
    ):
        await shop.aggregator.send(events[0])
        async with streamed(shop.aggregator.url, events[0].order_id) as stream:
            assert await stream.step() == step_of(events[0])
            valkey.kill()
            await shop.aggregator.send(events[1])
            await asyncio.to_thread(valkey.start)
            assert await stream.step() == step_of(events[1])
            await shop.aggregator.send(events[2])
            assert await stream.step() == step_of(events[2])


async def test_a_stream_outlives_the_time_out_of_requests_and_says_that_it_lives(
    launch: Launch, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed, reserved = life(new_id(), OrderPlaced, OrderReserved)
    settings: dict[str, Any] = {"STREAM_POLL_SECONDS": 0.3, "REQUEST_TIMEOUT_SECONDS": 0.5}
    async with running(launch, monkeypatch, valkey.url, **settings) as shop:
        await shop.aggregator.send(placed)
        headers = {"authorization": f"Bearer {token(ADA, 'customer')}"}
        async with (
            httpx.AsyncClient(base_url=shop.aggregator.url, headers=headers, timeout=10, verify=False) as client,
            client.stream("GET", f"{API}/orders/{placed.order_id}/stream") as response,
        ):
            lines = response.aiter_lines()
            signs = 0
            while signs < 4:
                signs += (await anext(lines)).startswith(":")
            await shop.aggregator.send(reserved)
            while await anext(lines) != "id: 2":
                pass


async def test_no_connection_to_the_database_is_held_while_a_client_waits(
    launch: Launch, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"STREAM_POLL_SECONDS": NEVER_POLLED, "DATABASE_POOL_SIZE": 2}
    async with running(launch, monkeypatch, valkey.url, **settings) as shop:
        orders = [order_state(OrderPlaced, 1, new_id()) for _ in range(10)]
        await shop.aggregator.send(*orders)
        async with asyncio.TaskGroup() as group:
            followed = [group.create_task(_to_the_end(shop.aggregator, order)) for order in orders]
            while any(not it.done() for it in followed):
                await shop.aggregator.send(*[order_state(OrderCancelled, 2, order.order_id) for order in orders])
        assert [it.result() for it in followed] == [["1", "2"]] * 10


async def _to_the_end(aggregator: Launched, order: OrderEvent) -> list[str]:
    async with streamed(aggregator.url, order.order_id) as stream:
        return [event["id"] for event in await stream.rest() if "id" in event]


async def test_a_stream_ends_when_the_server_stops(shop: Shop) -> None:
    placed = order_state(OrderPlaced, 1, new_id())
    await shop.aggregator.send(placed)
    async with another_api(shop) as other, streamed(url_of(other), placed.order_id) as stream:
        assert await stream.step() == step_of(placed)
        other.stop.set()
        (last,) = await stream.rest()
    assert last.keys() == {"retry"}


async def test_a_stream_ends_with_its_token(launch: Launch, valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    placed = order_state(OrderPlaced, 1, new_id())
    async with running(launch, monkeypatch, valkey.url, STREAM_POLL_SECONDS=0.1) as shop:
        await shop.aggregator.send(placed)
        brief = token(ADA, "customer", expires_in=2)
        async with streamed(shop.aggregator.url, placed.order_id, caller=brief) as stream:
            assert [event.get("id") for event in await stream.rest()] == ["1", None]
