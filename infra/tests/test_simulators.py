"""The payment provider and the carrier, as a process on a real port: answers, once per key, webhooks, kill -9."""

import asyncio
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from uuid import uuid4

import httpx
import psutil
import pytest
from httpx import AsyncClient
from standardwebhooks import Webhook

from simulators.server import Simulators

SECRET = b64encode(b"a secret of both sides").decode()


class Receiver(ThreadingHTTPServer):
    """Keeps what it is sent, and answers with `statuses` one after the other, then with 200."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Receive)
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        self.url = f"http://127.0.0.1:{self.server_port}/hooks/carrier"

    def verified(self) -> list[dict[str, Any]]:
        return [Webhook(SECRET).verify(body, headers) for headers, body in self.received]


class _Receive(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.received.append((dict(self.headers), body))
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def outside() -> Iterator[Simulators]:
    server = Simulators.temporary()
    with server:
        yield server


@pytest.fixture
async def http(outside: Simulators) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(base_url=outside.url, timeout=5) as client:
        settings = {
            "dispatch_seconds": 3600,
            "deliver_seconds": 0,
            "carrier_webhook_url": "",
            "carrier_webhook_secret": "",
        }
        (await client.put("/settings", json=settings)).raise_for_status()
        yield client


@pytest.fixture
def reference() -> str:
    return uuid4().hex


def key() -> dict[str, str]:
    return {"Idempotency-IdempotencyKey": uuid4().hex}


def on_card(token: str, reference: str, cents: int = 1_000) -> dict[str, Any]:
    return {"reference": reference, "amount_cents": cents, "currency": "EUR", "token": token}


def to_address(reference: str, country: str = "DE", postcode: str = "10115") -> dict[str, Any]:
    address = {"name": "Ada", "street": "1 Lane", "postcode": postcode, "city": "Berlin", "country": country}
    return {"reference": reference, "address": address, "parcels": [{"item": "p-1", "quantity": 2}]}


async def gained(http: AsyncClient, before: dict[str, int]) -> dict[str, int]:
    """By which the sums of the provider have changed."""
    return {name: cents - before[name] for name, cents in (await totals(http)).items() if cents != before[name]}


async def totals(http: AsyncClient) -> dict[str, int]:
    sums: dict[str, int] = (await http.get("/totals")).json()
    return sums


async def eventually(read: Callable[[], Awaitable[Any]], wanted: Any) -> None:
    deadline = time.monotonic() + 15
    while (seen := await read()) != wanted:
        assert time.monotonic() < deadline, f"{seen!r} did not become {wanted!r}"
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("token", "status", "reason"),
    [
        ("tok_visa", "authorized", None),
        ("tok_not_captured", "authorized", None),
        ("tok_declined", "declined", "card_declined"),
        ("tok_nobody_issued", "declined", "unknown_card"),
    ],
)
async def test_the_card_decides(http: AsyncClient, reference: str, token: str, status: str, reason: str | None) -> None:
    before = await totals(http)
    answer = await http.post("/payments", json=on_card(token, reference), headers=key())
    assert answer.status_code == 201
    assert (answer.json()["status"], answer.json()["reason"]) == (status, reason)
    assert "token" not in answer.json()
    assert await gained(http, before) == {f"{status}_cents": 1_000}


@pytest.mark.parametrize(
    ("token", "verbs", "status"),
    [
        ("tok_visa", ["capture"], "captured"),
        ("tok_visa", ["capture", "capture"], "captured"),
        ("tok_visa", ["void"], "voided"),
        ("tok_visa", ["void", "capture"], "voided"),
        ("tok_visa", ["capture", "void"], "refunded"),
        ("tok_visa", ["capture", "void", "void"], "refunded"),
        ("tok_not_captured", ["capture"], "authorized"),
        ("tok_not_captured", ["capture", "void"], "voided"),
        ("tok_declined", ["capture", "void"], "declined"),
    ],
)
async def test_money_moves_once(http: AsyncClient, reference: str, token: str, verbs: list[str], status: str) -> None:
    before = await totals(http)
    payment = (await http.post("/payments", json=on_card(token, reference), headers=key())).json()
    for verb in verbs:
        answer = await http.post(f"/payments/{payment['id']}/{verb}", headers=key())
        assert answer.status_code == 200
    assert answer.json()["status"] == status
    assert await gained(http, before) == {f"{status}_cents": 1_000}


async def test_a_key_is_answered_once(http: AsyncClient, reference: str) -> None:
    once = key()
    first = await http.post("/payments", json=on_card("tok_visa", reference), headers=once)
    again = await http.post("/payments", json=on_card("tok_visa", reference), headers=once)
    other = await http.post("/payments", json=on_card("tok_visa", reference, cents=1), headers=once)
    assert first.json() == again.json()
    assert other.status_code == 409
    assert (await http.post("/payments", json=on_card("tok_visa", reference))).status_code == 422
    assert (await http.get("/payments", params={"reference": reference})).json() == [first.json()]


@pytest.mark.parametrize(("fault", "done"), [("unavailable", 0), ("breaks", 1), ("slow", 1)])
@pytest.mark.parametrize("what", ["payments", "shipments"])
async def test_trouble_strikes_once_per_key(
    http: AsyncClient, reference: str, what: str, fault: str, done: int
) -> None:
    postcode = {"unavailable": "99503", "breaks": "99500", "slow": "99504"}[fault]
    body = on_card(f"tok_{fault}", reference) if what == "payments" else to_address(reference, postcode=postcode)
    once = key()
    if fault == "slow":
        with pytest.raises(httpx.ReadTimeout):
            await http.post(f"/{what}", json=body, headers=once, timeout=0.3)
    else:
        assert (await http.post(f"/{what}", json=body, headers=once)).status_code >= 500
    found = (await http.get(f"/{what}", params={"reference": reference})).json()
    assert len(found) == done
    again = await http.post(f"/{what}", json=body, headers=once)
    assert again.status_code == 201
    assert (await http.get(f"/{what}", params={"reference": reference})).json() == [again.json()]


async def test_a_shipment_can_be_stopped_until_it_has_left(http: AsyncClient, reference: str) -> None:
    stays = (await http.post("/shipments", json=to_address(reference), headers=key())).json()
    for _ in range(2):
        assert (await http.post(f"/shipments/{stays['id']}/cancel")).json()["status"] == "cancelled"

    assert (await http.put("/settings", json={"dispatch_seconds": 0, "deliver_seconds": 3600})).status_code == 200
    leaves = (await http.post("/shipments", json=to_address(reference), headers=key())).json()

    async def status() -> Any:
        return (await http.get(f"/shipments/{leaves['id']}")).json()["status"]

    await eventually(status, "dispatched")
    refused = await http.post(f"/shipments/{leaves['id']}/cancel")
    assert (refused.status_code, refused.json()["status"]) == (409, "dispatched")
    assert (await http.post("/shipments/nothing/cancel")).status_code == 404


async def test_some_countries_are_not_served(http: AsyncClient, reference: str) -> None:
    answer = await http.post("/shipments", json=to_address(reference, "XX"), headers=key())
    assert (answer.status_code, answer.json()) == (422, {"status": "rejected", "reason": "country_not_served"})
    assert (await http.get("/shipments", params={"reference": reference})).json() == []


async def test_webhooks_are_signed_and_repeated_until_taken(
    http: AsyncClient, reference: str, receiver: Receiver
) -> None:
    receiver.statuses = [500, 404]
    hooks = {"carrier_webhook_url": receiver.url, "carrier_webhook_secret": SECRET}
    assert (await http.put("/settings", json={**hooks, "dispatch_seconds": 0})).status_code == 200
    shipment = (await http.post("/shipments", json=to_address(reference), headers=key())).json()

    async def taken() -> Any:
        return len(receiver.received)

    await eventually(taken, 4)  # two events, each refused once
    told = receiver.verified()
    assert {hook["type"] for hook in told} == {"shipment.dispatched", "shipment.delivered"}
    assert {(hook["id"], hook["tracking_code"]) for hook in told} == {(shipment["id"], shipment["tracking_code"])}
    assert len({headers["webhook-id"] for headers, _ in receiver.received}) == 2
    await asyncio.sleep(2.5)
    assert len(receiver.received) == 4


async def test_bad_settings_change_nothing(http: AsyncClient) -> None:
    before = (await http.get("/settings")).json()
    for bad in ({"dispatch_seconds": -1}, {"unknown": 1}, {"carrier_webhook_url": "http://127.0.0.1:1"}):
        assert (await http.put("/settings", json=bad)).status_code == 422
    assert (await http.get("/settings")).json() == before


async def test_kill_9_loses_and_doubles_nothing(
    outside: Simulators, http: AsyncClient, reference: str, receiver: Receiver
) -> None:
    """Payments are asked for, with retries, while the program dies three times; a shipment goes on after it."""
    hooks = {"CARRIER_WEBHOOK_URL": receiver.url, "CARRIER_WEBHOOK_SECRET": SECRET}
    outside.settings = {**hooks, "DISPATCH_SECONDS": "0.5", "DELIVER_SECONDS": "0.5"}
    outside.kill()
    outside.start()
    sent = (await http.post("/shipments", json=to_address(reference), headers=key())).json()

    async def pay(number: int) -> str:
        headers, body = key(), on_card("tok_visa", f"{reference}-{number}")
        while True:
            try:
                return str((await http.post("/payments", json=body, headers=headers)).json()["id"])
            except httpx.TransportError:
                await asyncio.sleep(0.01)

    before = await totals(http)
    paying = [asyncio.create_task(pay(number)) for number in range(400)]
    for _ in range(3):
        await asyncio.sleep(0.15)
        outside.kill()
        await outside.__aenter__()  # start() would hold up the clients
    ids = await asyncio.gather(*paying)
    assert len(set(ids)) == 400
    assert await gained(http, before) == {"authorized_cents": 400 * 1_000}

    async def told() -> Any:
        return {(hook["id"], hook["type"]) for hook in receiver.verified()}

    await eventually(told, {(sent["id"], "shipment.dispatched"), (sent["id"], "shipment.delivered")})


async def test_it_costs_nothing_at_rest(outside: Simulators, http: AsyncClient, reference: str) -> None:
    await http.post("/shipments", json=to_address(reference), headers=key())  # due in an hour
    assert outside.process is not None
    process = psutil.Process(outside.process.pid)
    before = process.cpu_times()
    await asyncio.sleep(3)
    after = process.cpu_times()
    assert after.user + after.system - before.user - before.system <= 0.03
