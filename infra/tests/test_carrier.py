"""The carrier with faults: at each request, parcels that stay or get lost, webhooks late, twice or reversed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest
from httpx import AsyncClient

from simulators.server import Simulators

from .simulator_client import SECRET, WebhookReceiver, change_settings, new_key, shipment_request
from .waiting import eventually, wait_until

LOST = ["dispatched", "lost"]
DELIVERED = ["dispatched", "delivered"]
NO_FAULTS = {"faults": "none", "postcodes": {}, "slow_seconds": 30, "late_seconds": 0.2, "webhook_late_seconds": 5}
TIMEOUT_SECONDS = 0.4  # of a client that meets a slow answer


@pytest.fixture
async def http(simulators: Simulators, receiver: WebhookReceiver) -> AsyncIterator[AsyncClient]:
    """Parcels are dispatched and delivered at once, with webhooks."""
    async with AsyncClient(base_url=simulators.url, timeout=5) as client:
        webhooks = {"carrier_webhook_url": receiver.url, "carrier_webhook_secret": SECRET}
        await change_settings(client, **webhooks, **NO_FAULTS, dispatch_seconds=0, deliver_seconds=0)
        yield client
        await change_settings(client, carrier_webhook_url="")


async def send_parcel(http: AsyncClient, postcode: str) -> dict[str, Any]:
    answer = await http.post("/shipments", json=shipment_request(uuid4().hex, postcode=postcode), headers=new_key())
    parcel: dict[str, Any] = answer.json()
    return parcel


async def status(http: AsyncClient, parcel: dict[str, Any]) -> str:
    (found,) = (await http.get("/shipments", params={"reference": parcel["reference"]})).json()
    return str(found["status"])


def webhooks_about(receiver: WebhookReceiver, parcel: dict[str, Any]) -> list[str]:
    """The statuses in the webhooks about a parcel, in the order of their arrival."""
    received = [it for it in receiver.verified() if it["id"] == parcel["id"]]
    return [it["type"].removeprefix("shipment.") for it in received]


# Settings, a postcode, and the statuses of a parcel to it.
ROUTES: dict[str, tuple[dict[str, Any], str, list[str]]] = {
    "a postcode without a rule": ({}, "10115", DELIVERED),
    "the postcode that loses": ({}, "99599", LOST),
    "set to lose": ({"postcodes": {"10115": {"lost": True}}}, "10115", LOST),
    "all set to lose": ({"postcodes": {"*": {"lost": True}}}, "10115", LOST),
    "set not to lose": ({"postcodes": {"99599": {}}}, "99599", DELIVERED),
    "its own rule wins": ({"postcodes": {"10115": {}, "*": {"lost": True}}}, "10115", DELIVERED),
    "fault rate": ({"faults": {"lost": 1}}, "10115", LOST),
}


@pytest.mark.parametrize(("settings", "postcode", "expected"), ROUTES.values(), ids=ROUTES)
async def test_the_postcode_decides(
    http: AsyncClient, receiver: WebhookReceiver, settings: dict[str, Any], postcode: str, expected: list[str]
) -> None:
    await change_settings(http, **settings)
    parcel = await send_parcel(http, postcode)
    await eventually(lambda: status(http, parcel), expected[-1])
    await wait_until(lambda: sorted(webhooks_about(receiver, parcel)) == sorted(expected))


@pytest.mark.parametrize("settings", [{}, {"postcodes": {"99598": {"stays": True}}}], ids=["built in", "set"])
async def test_a_parcel_that_stays(http: AsyncClient, receiver: WebhookReceiver, settings: dict[str, Any]) -> None:
    """Other parcels overtake it, and it can still be cancelled."""
    await change_settings(http, **settings)
    stays, other = await send_parcel(http, "99598"), await send_parcel(http, "10115")
    await eventually(lambda: status(http, other), "delivered")
    assert (await status(http, stays), webhooks_about(receiver, stays)) == ("accepted", [])
    assert (await http.post(f"/shipments/{stays['id']}/cancel")).json()["status"] == "cancelled"


def request_maker(
    http: AsyncClient, parcel: dict[str, Any], kind: str, timeout: float
) -> Callable[[], Awaitable[httpx.Response]]:
    url, key = f"/shipments/{parcel['id']}", new_key()
    body = shipment_request(parcel["reference"], postcode="10117")
    return {
        "send": lambda: http.post("/shipments", json=body, headers=key, timeout=timeout),
        "cancel": lambda: http.post(f"{url}/cancel", timeout=timeout),
        "get": lambda: http.get(url, timeout=timeout),
    }[kind]


async def was_carried_out(http: AsyncClient, parcel: dict[str, Any], kind: str) -> bool:
    found = (await http.get("/shipments", params={"reference": parcel["reference"]})).json()
    return len(found) == 2 if kind == "send" else found[0]["status"] == "cancelled"


# The fault, the status of the first answer (None: time-out), and whether the request was carried out.
FAULTS: dict[str, tuple[int | None, bool]] = {
    "unavailable": (503, False),
    "breaks": (500, True),
    "slow": (None, True),
    "late": (200, True),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", ["send", "cancel", "get"])
async def test_a_fault_strikes_each_request_once(http: AsyncClient, kind: str, fault: str) -> None:
    expected, acted = FAULTS[fault]
    await change_settings(http, dispatch_seconds=3600)
    parcel = await send_parcel(http, "10117")
    await change_settings(http, postcodes={"10117": {"fault": fault}})
    make = request_maker(http, parcel, kind, TIMEOUT_SECONDS if fault == "slow" else 5)
    if expected is None:
        with pytest.raises(httpx.ReadTimeout):
            await make()
    else:
        answer = await make()
        assert answer.status_code == (201 if expected == 200 and kind == "send" else expected)
    if kind != "get":
        assert await was_carried_out(http, parcel, kind) == acted
    assert (await make()).is_success
    assert kind == "get" or await was_carried_out(http, parcel, kind)


async def webhooks_of_new_parcel(http: AsyncClient, receiver: WebhookReceiver, how: str, count: int) -> list[str]:
    await change_settings(http, postcodes={"10115": {"webhooks": how}})
    parcel = await send_parcel(http, "10115")
    await wait_until(lambda: len(webhooks_about(receiver, parcel)) == count)
    return webhooks_about(receiver, parcel)


async def test_webhooks_come_twice(http: AsyncClient, receiver: WebhookReceiver) -> None:
    """With two ids, so that an inbox of ids does not recognize them."""
    assert sorted(await webhooks_of_new_parcel(http, receiver, "twice", 4)) == sorted(DELIVERED * 2)
    assert len(set(receiver.ids())) == 4


async def test_webhooks_come_reversed(http: AsyncClient, receiver: WebhookReceiver) -> None:
    await change_settings(http, webhook_late_seconds=1)
    assert await webhooks_of_new_parcel(http, receiver, "reversed", 2) == ["delivered", "dispatched"]


async def test_webhooks_come_late(http: AsyncClient, receiver: WebhookReceiver) -> None:
    """After those of a parcel that was sent later."""
    await change_settings(http, webhook_late_seconds=1, postcodes={"10115": {"webhooks": "late"}})
    late, other = await send_parcel(http, "10115"), await send_parcel(http, "10119")
    await wait_until(lambda: len(receiver.received) == 4)
    assert [it["id"] for it in receiver.verified()] == [other["id"]] * 2 + [late["id"]] * 2


async def test_webhooks_come_again_although_they_were_acknowledged(
    http: AsyncClient, receiver: WebhookReceiver
) -> None:
    """The same webhook, with the same id."""
    await change_settings(http, faults={"webhook_duplicate": 1})
    parcel = await send_parcel(http, "10115")
    await wait_until(lambda: len(webhooks_about(receiver, parcel)) > 2)
    await change_settings(http, faults="none")
    assert len(set(receiver.ids())) == 2


async def test_it_remembers_its_parcels_over_a_restart(simulators: Simulators, http: AsyncClient) -> None:
    """A parcel on its way goes on, a parcel that stays stays, and a key still gets its first answer."""
    await change_settings(http, dispatch_seconds=1, deliver_seconds=0)
    key, body = new_key(), shipment_request(uuid4().hex, postcode="99599")
    loses = (await http.post("/shipments", json=body, headers=key)).json()
    stays = await send_parcel(http, "99598")
    simulators.settings = {"DELIVER_SECONDS": "0"}
    simulators.kill()
    simulators.start()
    assert (await http.post("/shipments", json=body, headers=key)).json() == loses
    await eventually(lambda: status(http, loses), "lost")
    assert await status(http, stays) == "accepted"


async def test_every_parcel_moves_on(http: AsyncClient) -> None:
    """Parcels arrive while others move and send webhooks: no wake-up is lost between them."""
    parcels = await asyncio.gather(*(send_parcel(http, "10115") for _ in range(60)))

    async def delivered() -> int:
        return sum([await status(http, it) == "delivered" for it in parcels])

    await eventually(delivered, 60)


@pytest.mark.parametrize(
    "bad", [{"10115": {"lost": "perhaps"}}, {"10115": {"colour": 1}}, {"10115": {"webhooks": "never"}}]
)
async def test_an_unknown_rule_is_refused(http: AsyncClient, bad: dict[str, Any]) -> None:
    assert (await http.put("/settings", json={"postcodes": bad})).status_code == 422
