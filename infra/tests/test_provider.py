"""The provider's bad days: moods, cards at run time, refunds, the list of changes, and webhooks of its own."""

import asyncio
import json
import sqlite3
import time
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import httpx
import pytest
from httpx import AsyncClient
from standardwebhooks import Webhook

from simulators import simulation
from simulators.faults import FAULT_PROFILES, FaultRates
from simulators.server import Simulators
from simulators.simulation import Answer, Simulation, SimulatorSettings

SECRET = b64encode(b"a secret of both sides").decode()


@pytest.fixture(scope="module")
def outside() -> Iterator[Simulators]:
    with Simulators.temporary() as server:
        yield server


@pytest.fixture
async def http(outside: Simulators) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(base_url=outside.url, timeout=5) as client:
        yield client
        told = {"faults": "kind", "cards": {}, "provider_webhook_url": "", "late_seconds": 0.5, "slow_seconds": 30}
        (await client.put("/settings", json=told)).raise_for_status()


def key() -> dict[str, str]:
    return {"Idempotency-IdempotencyKey": uuid4().hex}


async def tell(http: AsyncClient, **settings: Any) -> None:
    (await http.put("/settings", json=settings)).raise_for_status()


async def pay(http: AsyncClient, *verbs: str, token: str = "tok_visa") -> dict[str, Any]:
    """A payment of 1000 cents, after what was done with it."""
    body = {"reference": uuid4().hex, "amount_cents": 1_000, "currency": "EUR", "token": token}
    payment: dict[str, Any] = (await http.post("/payments", json=body, headers=key())).json()
    for verb in verbs:
        payment = (await http.post(f"/payments/{payment['id']}/{verb}", headers=key())).json()
    return payment


async def refund(http: AsyncClient, payment: dict[str, Any], cents: int) -> dict[str, Any]:
    url = f"/payments/{payment['id']}/refunds"
    done: dict[str, Any] = (await http.post(url, json={"amount_cents": cents}, headers=key())).json()
    return done


async def shown(http: AsyncClient, payment: dict[str, Any]) -> dict[str, Any]:
    (it,) = (await http.get("/payments", params={"reference": payment["reference"]})).json()
    found: dict[str, Any] = it
    return found


def test_a_mood_draws_its_shares() -> None:
    chance, cruel = Random(1), FAULT_PROFILES["cruel"]
    drawn = Counter(cruel.fault(chance) for _ in range(20_000))
    for fault in ("unavailable", "breaks", "late", "slow"):
        assert abs(drawn[fault] / 20_000 - getattr(cruel, fault)) < 0.01
    assert {FaultRates().fault(chance) for _ in range(1_000)} == {None}


@pytest.mark.parametrize(
    ("fault", "status", "done"), [("unavailable", 503, False), ("breaks", 500, True), ("late", 200, True)]
)
@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_a_mood_is_for_all_requests(http: AsyncClient, fault: str, status: int, done: bool, method: str) -> None:
    """Also those that only ask, and each time anew, unlike the fault of a card."""
    payment = await pay(http)
    await tell(http, faults={fault: 1}, late_seconds=0)
    once, url = key(), f"/payments/{payment['id']}/capture"
    for _ in range(2):
        if method == "POST":
            assert (await http.post(url, headers=once)).status_code == status
        else:
            assert (await http.get("/payments", params={"reference": "x"})).status_code == status
    await tell(http, faults="kind")
    if method == "POST":
        assert ((await shown(http, payment))["status"] == "captured") == done


async def test_a_time_out_after_acting(http: AsyncClient) -> None:
    payment = await pay(http)
    await tell(http, faults={"slow": 1}, slow_seconds=5)
    with pytest.raises(httpx.ReadTimeout):
        await http.post(f"/payments/{payment['id']}/capture", headers=key(), timeout=0.2)
    await tell(http, faults="kind")
    assert (await shown(http, payment))["status"] == "captured"


async def test_the_carrier_shares_the_mood(http: AsyncClient) -> None:
    await tell(http, faults={"unavailable": 1})
    assert (await http.get("/shipments", params={"reference": "x"})).status_code == 503


@pytest.mark.parametrize("faults", ["grumpy", {"unavailable": 2}, {"unkind": 1}, 7])
async def test_an_unknown_mood_is_refused(http: AsyncClient, faults: Any) -> None:
    assert (await http.put("/settings", json={"faults": faults})).status_code == 422


async def test_cards_can_be_changed_at_run_time(http: AsyncClient) -> None:
    """One of them, and all others."""
    await tell(http, cards={"tok_visa": {"declined": "stolen"}, "*": {"not_captured": "limit"}})
    assert (await pay(http))["reason"] == "stolen"
    assert (await pay(http, "capture", token="tok_mine"))["reason"] == "limit"
    await tell(http, cards={})
    assert (await pay(http))["status"] == "authorized"


async def test_refused_once_then_accepted(http: AsyncClient) -> None:
    payment = await pay(http, "capture", token="tok_not_captured_once")
    assert (payment["status"], payment["reason"]) == ("authorized", "authorization_expired")
    again = await http.post(f"/payments/{payment['id']}/capture", headers=key())
    assert (again.json()["status"], again.json()["reason"]) == ("captured", None)


async def test_refunds_never_exceed_what_was_taken(http: AsyncClient) -> None:
    payment = await pay(http, "capture")
    outcomes = [(await refund(http, payment, cents))["status"] for cents in (400, 700, 600, 1)]
    assert outcomes == ["refunded", "refused", "refunded", "refused"]
    seen = await shown(http, payment)
    assert (seen["status"], seen["captured_cents"], seen["refunded_cents"]) == ("refunded", 1_000, 1_000)


async def test_a_void_gives_back_the_rest(http: AsyncClient) -> None:
    before = (await http.get("/totals")).json()
    payment = await pay(http, "capture")
    await refund(http, payment, 300)
    partly = (await http.get("/totals")).json()
    assert (partly["captured_cents"] - before["captured_cents"], partly["refunded_cents"]) == (
        700,
        before["refunded_cents"] + 300,
    )
    await http.post(f"/payments/{payment['id']}/void", headers=key())
    after = (await http.get("/totals")).json()
    assert after == before | {"refunded_cents": before["refunded_cents"] + 1_000}


async def test_a_refund_is_made_once_per_key_and_can_be_found(http: AsyncClient) -> None:
    payment, once = await pay(http, "capture"), key()
    await tell(http, cards={"*": {"fault": "breaks"}})
    url, body = f"/payments/{payment['id']}/refunds", {"reference": "mine", "amount_cents": 400}
    statuses = [(await http.post(url, json=body, headers=once)).status_code for _ in range(3)]
    assert statuses == [500, 201, 201]
    (found,) = (await http.get(url, params={"reference": "mine"})).json()
    assert (found["amount_cents"], found["status"]) == (400, "refunded")
    assert (await http.post(url, json=body | {"amount_cents": 1}, headers=once)).status_code == 409
    assert (await http.post("/payments/nothing/refunds", json=body, headers=key())).status_code == 404


async def test_a_card_that_takes_no_money_back(http: AsyncClient) -> None:
    payment = await pay(http, "capture", token="tok_not_refunded")
    refused = await refund(http, payment, 1)
    assert (refused["status"], refused["reason"]) == ("refused", "account_closed")


async def test_the_list_pages_by_change_and_survives_a_restart(outside: Simulators, http: AsyncClient) -> None:
    """Each payment once, where it changed last; one that changes while one pages comes again."""
    position = max((it["changed"] for it in (await http.get("/payments?limit=1000")).json()), default=0)
    first, *others = [await pay(http) for _ in range(4)]
    seen = (await http.get("/payments", params={"since": position, "limit": 3})).json()
    assert [it["id"] for it in seen] == [first["id"], others[0]["id"], others[1]["id"]]
    await http.post(f"/payments/{first['id']}/capture", headers=key())
    outside.kill()
    await outside.__aenter__()
    rest = (await http.get("/payments", params={"since": seen[-1]["changed"]})).json()
    assert [(it["id"], it["status"]) for it in rest] == [(others[2]["id"], "authorized"), (first["id"], "captured")]


class Receiver:
    """Takes webhooks, and answers each with 200."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[1:-2]
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        body = await reader.readexactly(int(headers["content-length"]))
        Webhook(SECRET).verify(body, headers)
        self.taken.append({"webhook": headers["webhook-id"], **json.loads(body)})
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        writer.close()

    async def until(self, count: int) -> list[dict[str, Any]]:
        async with asyncio.timeout(20):
            while len(self.taken) < count:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        return self.taken


@pytest.fixture
async def receiver(http: AsyncClient) -> AsyncIterator[Receiver]:
    it = Receiver()
    async with await asyncio.start_server(it.answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}/hooks/provider"
        await tell(http, provider_webhook_url=url, provider_webhook_secret=SECRET, provider_webhook_seconds=0)
        yield it


async def test_every_change_is_told(http: AsyncClient, receiver: Receiver) -> None:
    payment = await pay(http, "capture")
    await refund(http, payment, 300)
    voided, declined = await pay(http, "void"), await pay(http, token="tok_declined")
    told = await receiver.until(6)
    assert Counter((it["reference"], it["type"]) for it in told) == Counter(
        [
            (payment["reference"], "payment.authorized"),
            (payment["reference"], "payment.captured"),
            (payment["reference"], "payment.refunded"),
            (voided["reference"], "payment.authorized"),
            (voided["reference"], "payment.voided"),
            (declined["reference"], "payment.declined"),
        ]
    )


async def test_webhooks_come_again_and_out_of_order(http: AsyncClient, receiver: Receiver) -> None:
    await tell(http, faults={"webhook_again": 1})
    await pay(http)
    first, again = (await receiver.until(2))[:2]
    assert first == again
    await tell(http, faults={"webhook_late": 1}, webhook_late_seconds=1)
    orders = [(await pay(http, "capture"))["reference"] for _ in range(20)]
    await receiver.until(42)
    types = {id: [it["type"] for it in receiver.taken if it["reference"] == id] for id in orders}
    assert ["payment.captured", "payment.authorized"] in types.values()


async def test_old_answers_are_forgotten_after_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    it = Simulation(str(tmp_path / "world.sqlite"), SimulatorSettings())
    acted: list[float] = []
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)

    def act() -> Answer:
        acted.append(now)
        return 200, {}

    for later in (0, 23 * 3600, 2 * 3600):
        now += later
        await it.answer("a key of mine", "do it", act)
        await it.answer(f"another key {later}", "do it", lambda: (200, {}))
    assert len(acted) == 2


async def test_a_memory_of_before_is_taken_over(tmp_path: Path) -> None:
    path = str(tmp_path / "world.sqlite")
    old = sqlite3.connect(path)
    old.executescript(simulation._VERSIONS[0])
    old.execute("INSERT INTO payments VALUES ('pay_1', 'r', 500, 'EUR', 'tok_visa', 'captured', NULL)")
    old.execute("INSERT INTO requests VALUES ('key', 'capture', 1, 200, '{}')")
    old.commit()
    for _ in range(2):
        it = Simulation(path, SimulatorSettings())
        (payment,) = it.rows("SELECT * FROM payments")
        assert (payment["captured_cents"], payment["refunded_cents"], payment["changed"]) == (500, 0, 1)
    assert (await it.answer("key", "capture", lambda: (500, {}))).status_code == 200
