"""The carrier on bad days: fault at each call, parcels that stay or get lost, news late, twice or reversed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from threading import Thread
from typing import Any
from uuid import uuid4

import httpx
import pytest
from httpx import AsyncClient

from simulators.server import Simulators

from .test_simulators import SECRET, Receiver, eventually, key, to_address

LOST = ["dispatched", "lost"]
DELIVERED = ["dispatched", "delivered"]
KIND = {"faults": "kind", "postcodes": {}, "slow_seconds": 30, "late_seconds": 0.2, "webhook_late_seconds": 5}


@pytest.fixture(scope="module")
def outside() -> Iterator[Simulators]:
    with Simulators.temporary() as server:
        yield server


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
async def http(outside: Simulators, receiver: Receiver) -> AsyncIterator[AsyncClient]:
    """Parcels leave and arrive at once, and that is told."""
    async with AsyncClient(base_url=outside.url, timeout=5) as client:
        hooks = {"carrier_webhook_url": receiver.url, "carrier_webhook_secret": SECRET}
        await tell(client, **hooks, **KIND, dispatch_seconds=0, deliver_seconds=0)
        yield client
        await tell(client, carrier_webhook_url="")


async def tell(http: AsyncClient, **settings: Any) -> None:
    (await http.put("/settings", json=settings)).raise_for_status()


async def send(http: AsyncClient, postcode: str) -> dict[str, Any]:
    answer = await http.post("/shipments", json=to_address(uuid4().hex, postcode=postcode), headers=key())
    parcel: dict[str, Any] = answer.json()
    return parcel


async def status(http: AsyncClient, parcel: dict[str, Any]) -> str:
    (found,) = (await http.get("/shipments", params={"reference": parcel["reference"]})).json()
    return str(found["status"])


def news(receiver: Receiver, parcel: dict[str, Any]) -> list[str]:
    """What was told of the parcel, in the order in which it came."""
    told = [it for it in receiver.verified() if it["id"] == parcel["id"]]
    return [it["type"].removeprefix("shipment.") for it in told]


# What is told first, the postcode, and what becomes of a parcel there.
DELIVERY_ROUTES: dict[str, tuple[dict[str, Any], str, list[str]]] = {
    "any other": ({}, "10115", DELIVERED),
    "known to lose": ({}, "99599", LOST),
    "told to lose": ({"postcodes": {"10115": {"lost": True}}}, "10115", LOST),
    "all told to lose": ({"postcodes": {"*": {"lost": True}}}, "10115", LOST),
    "told not to lose": ({"postcodes": {"99599": {}}}, "99599", DELIVERED),
    "told before all others": ({"postcodes": {"10115": {}, "*": {"lost": True}}}, "10115", DELIVERED),
    "in a faults to lose": ({"faults": {"lost": 1}}, "10115", LOST),
}


@pytest.mark.parametrize(("settings", "postcode", "expected"), DELIVERY_ROUTES.values(), ids=DELIVERY_ROUTES)
async def test_what_becomes_of_a_parcel(
    http: AsyncClient, receiver: Receiver, settings: dict[str, Any], postcode: str, expected: list[str]
) -> None:
    await tell(http, **settings)
    parcel = await send(http, postcode)
    await eventually(lambda: status(http, parcel), expected[-1])

    async def told() -> list[str]:
        return sorted(news(receiver, parcel))

    await eventually(told, sorted(expected))


@pytest.mark.parametrize("settings", [{}, {"postcodes": {"99598": {"stays": True}}}], ids=["known", "told"])
async def test_a_parcel_that_stays(http: AsyncClient, receiver: Receiver, settings: dict[str, Any]) -> None:
    """Others overtake it, and it can still be stopped."""
    await tell(http, **settings)
    stays, other = await send(http, "99598"), await send(http, "10115")
    await eventually(lambda: status(http, other), "delivered")
    assert (await status(http, stays), news(receiver, stays)) == ("accepted", [])
    assert (await http.post(f"/shipments/{stays['id']}/cancel")).json()["status"] == "cancelled"


def calls(http: AsyncClient, parcel: dict[str, Any]) -> dict[str, Callable[[], Awaitable[httpx.Response]]]:
    url, once = f"/shipments/{parcel['id']}", key()
    body = to_address(parcel["reference"], postcode="10117")
    return {
        "send": lambda: http.post("/shipments", json=body, headers=once, timeout=0.4),
        "cancel": lambda: http.post(f"{url}/cancel", timeout=0.4),
        "get": lambda: http.get(url, timeout=0.4),
    }


async def done(http: AsyncClient, parcel: dict[str, Any], call: str) -> bool:
    found = (await http.get("/shipments", params={"reference": parcel["reference"]})).json()
    return len(found) == 2 if call == "send" else found[0]["status"] == "cancelled"


# Fault, how the first call ends, and whether it did what it was asked.
TROUBLE: dict[str, tuple[int | None, bool]] = {
    "unavailable": (503, False),
    "breaks": (500, True),
    "slow": (None, True),
    "late": (200, True),
}


@pytest.mark.parametrize("fault", TROUBLE)
@pytest.mark.parametrize("call", ["send", "cancel", "get"])
async def test_trouble_strikes_each_call_once(http: AsyncClient, call: str, fault: str) -> None:
    expected, acted = TROUBLE[fault]
    await tell(http, dispatch_seconds=3600)
    parcel = await send(http, "10117")
    await tell(http, postcodes={"10117": {"fault": fault}})
    make = calls(http, parcel)[call]
    if expected is None:
        with pytest.raises(httpx.ReadTimeout):
            await make()
    else:
        answer = await make()
        assert answer.status_code == (201 if expected == 200 and call == "send" else expected)
    if call != "get":
        assert await done(http, parcel, call) == acted
    assert (await make()).is_success
    assert call == "get" or await done(http, parcel, call)


async def told_of(http: AsyncClient, receiver: Receiver, how: str, count: int) -> list[str]:
    await tell(http, postcodes={"10115": {"news": how}})
    parcel = await send(http, "10115")

    async def heard() -> int:
        return len(news(receiver, parcel))

    await eventually(heard, count)
    return news(receiver, parcel)


async def test_news_come_twice(http: AsyncClient, receiver: Receiver) -> None:
    """Under two ids, so that an inbox of ids does not help."""
    assert sorted(await told_of(http, receiver, "twice", 4)) == sorted(DELIVERED * 2)
    assert len({headers["webhook-id"] for headers, _ in receiver.received}) == 4


async def test_news_come_reversed(http: AsyncClient, receiver: Receiver) -> None:
    await tell(http, webhook_late_seconds=0.5)
    assert await told_of(http, receiver, "reversed", 2) == ["delivered", "dispatched"]


async def test_news_come_late(http: AsyncClient, receiver: Receiver) -> None:
    """After those of a parcel that was sent later."""
    await tell(http, webhook_late_seconds=1, postcodes={"10115": {"news": "late"}})
    late, other = await send(http, "10115"), await send(http, "10119")

    async def heard() -> tuple[int, int]:
        return len(news(receiver, late)), len(news(receiver, other))

    await eventually(heard, (2, 2))
    ids = [it["id"] for it in receiver.verified()]
    assert ids == [other["id"]] * 2 + [late["id"]] * 2


async def test_a_mood_that_tells_again(http: AsyncClient, receiver: Receiver) -> None:
    """The same webhook, under the same id, though it was taken."""
    await tell(http, faults={"webhook_again": 1})
    parcel = await send(http, "10115")

    async def again() -> bool:
        return len(news(receiver, parcel)) > 2

    await eventually(again, True)
    await tell(http, faults="kind")
    assert len({headers["webhook-id"] for headers, _ in receiver.received}) == 2


async def test_it_remembers_its_parcels_over_a_restart(outside: Simulators, http: AsyncClient) -> None:
    """What was on its way goes on, what stays stays, and a key is still answered with its first answer."""
    await tell(http, dispatch_seconds=1, deliver_seconds=0)
    once, body = key(), to_address(uuid4().hex, postcode="99599")
    loses = (await http.post("/shipments", json=body, headers=once)).json()
    stays = await send(http, "99598")
    outside.settings = {"DELIVER_SECONDS": "0"}
    outside.kill()
    outside.start()
    assert (await http.post("/shipments", json=body, headers=once)).json() == loses
    await eventually(lambda: status(http, loses), "lost")
    assert await status(http, stays) == "accepted"


async def test_every_parcel_moves_on(http: AsyncClient, receiver: Receiver) -> None:
    """Parcels that come while others move and are told of: no wake-up is lost between them."""
    parcels = await asyncio.gather(*(send(http, "10115") for _ in range(60)))

    async def arrived() -> int:
        return sum([await status(http, it) == "delivered" for it in parcels])

    await eventually(arrived, 60)


@pytest.mark.parametrize(
    "bad", [{"10115": {"lost": "perhaps"}}, {"10115": {"colour": 1}}, {"10115": {"news": "never"}}]
)
async def test_a_road_that_there_is_not_is_refused(http: AsyncClient, bad: dict[str, Any]) -> None:
    assert (await http.put("/settings", json={"postcodes": bad})).status_code == 422
