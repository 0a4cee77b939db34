"""The payment provider with faults: rates, cards that change at run time, refunds, the list of changes, webhooks."""

import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import httpx
import pytest
from httpx import AsyncClient

from simulators import simulation
from simulators.faults import FAULT_PROFILES, FaultRates
from simulators.server import Simulators
from simulators.simulation import Answer, Simulation, SimulatorSettings

from .simulator_client import SECRET, WebhookReceiver, change_settings, new_key, payment_request
from .waiting import wait_until

NO_FAULTS = {"faults": "none", "cards": {}, "provider_webhook_url": "", "late_seconds": 0.5, "slow_seconds": 30}


@pytest.fixture
async def http(simulators: Simulators) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(base_url=simulators.url, timeout=5) as client:
        yield client
        await change_settings(client, **NO_FAULTS)


async def pay(http: AsyncClient, *verbs: str, token: str = "tok_visa") -> dict[str, Any]:
    """Create a payment of 1000 cents and call these actions on it. Returns the payment."""
    body = payment_request(token, uuid4().hex)
    payment: dict[str, Any] = (await http.post("/payments", json=body, headers=new_key())).json()
    for verb in verbs:
        payment = (await http.post(f"/payments/{payment['id']}/{verb}", headers=new_key())).json()
    return payment


async def create_refund(http: AsyncClient, payment: dict[str, Any], cents: int) -> dict[str, Any]:
    url = f"/payments/{payment['id']}/refunds"
    done: dict[str, Any] = (await http.post(url, json={"amount_cents": cents}, headers=new_key())).json()
    return done


async def get_payment(http: AsyncClient, payment: dict[str, Any]) -> dict[str, Any]:
    (it,) = (await http.get("/payments", params={"reference": payment["reference"]})).json()
    found: dict[str, Any] = it
    return found


def test_faults_are_drawn_with_their_probabilities() -> None:
    random, harsh = Random(1), FAULT_PROFILES["harsh"]
    drawn = Counter(harsh.draw_fault(random) for _ in range(20_000))
    for fault in ("unavailable", "breaks", "late", "slow"):
        assert abs(drawn[fault] / 20_000 - getattr(harsh, fault)) < 0.01
    assert {FaultRates().draw_fault(random) for _ in range(1_000)} == {None}


@pytest.mark.parametrize(
    ("fault", "status", "done"), [("unavailable", 503, False), ("breaks", 500, True), ("late", 200, True)]
)
@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_fault_rates_hold_for_all_requests(
    http: AsyncClient, fault: str, status: int, done: bool, method: str
) -> None:
    """Also for reads, and for each request anew, unlike the fault of a card."""
    payment = await pay(http)
    await change_settings(http, faults={fault: 1}, late_seconds=0)
    key, url = new_key(), f"/payments/{payment['id']}/capture"
    for _ in range(2):
        if method == "POST":
            assert (await http.post(url, headers=key)).status_code == status
        else:
            assert (await http.get("/payments", params={"reference": "x"})).status_code == status
    await change_settings(http, faults="none")
    if method == "POST":
        assert ((await get_payment(http, payment))["status"] == "captured") == done


async def test_a_time_out_after_acting(http: AsyncClient) -> None:
    payment = await pay(http)
    await change_settings(http, faults={"slow": 1}, slow_seconds=5)
    with pytest.raises(httpx.ReadTimeout):
        await http.post(f"/payments/{payment['id']}/capture", headers=new_key(), timeout=0.2)
    await change_settings(http, faults="none")
    assert (await get_payment(http, payment))["status"] == "captured"


async def test_fault_rates_hold_for_the_carrier_too(http: AsyncClient) -> None:
    await change_settings(http, faults={"unavailable": 1})
    assert (await http.get("/shipments", params={"reference": "x"})).status_code == 503


@pytest.mark.parametrize("faults", ["severe", {"unavailable": 2}, {"unkind": 1}, 7])
async def test_unknown_fault_rates_are_refused(http: AsyncClient, faults: Any) -> None:
    assert (await http.put("/settings", json={"faults": faults})).status_code == 422


async def test_cards_can_be_changed_at_run_time(http: AsyncClient) -> None:
    """One card, and all other cards."""
    await change_settings(http, cards={"tok_visa": {"declined": "stolen"}, "*": {"not_captured": "limit"}})
    assert (await pay(http))["reason"] == "stolen"
    assert (await pay(http, "capture", token="tok_mine"))["reason"] == "limit"
    await change_settings(http, cards={})
    assert (await pay(http))["status"] == "authorized"


async def test_a_capture_is_refused_once_then_accepted(http: AsyncClient) -> None:
    payment = await pay(http, "capture", token="tok_not_captured_once")
    assert (payment["status"], payment["reason"]) == ("authorized", "authorization_expired")
    again = await http.post(f"/payments/{payment['id']}/capture", headers=new_key())
    assert (again.json()["status"], again.json()["reason"]) == ("captured", None)


async def test_refunds_never_exceed_the_captured_amount(http: AsyncClient) -> None:
    payment = await pay(http, "capture")
    outcomes = [(await create_refund(http, payment, cents))["status"] for cents in (400, 700, 600, 1)]
    assert outcomes == ["refunded", "refused", "refunded", "refused"]
    found = await get_payment(http, payment)
    assert (found["status"], found["captured_cents"], found["refunded_cents"]) == ("refunded", 1_000, 1_000)


async def test_a_void_gives_back_the_rest(http: AsyncClient) -> None:
    before = (await http.get("/totals")).json()
    payment = await pay(http, "capture")
    await create_refund(http, payment, 300)
    partly = (await http.get("/totals")).json()
    assert (partly["captured_cents"] - before["captured_cents"], partly["refunded_cents"]) == (
        700,
        before["refunded_cents"] + 300,
    )
    await http.post(f"/payments/{payment['id']}/void", headers=new_key())
    after = (await http.get("/totals")).json()
    assert after == before | {"refunded_cents": before["refunded_cents"] + 1_000}


async def test_a_refund_is_made_once_per_key_and_can_be_found(http: AsyncClient) -> None:
    payment, key = await pay(http, "capture"), new_key()
    await change_settings(http, cards={"*": {"fault": "breaks"}})
    url, body = f"/payments/{payment['id']}/refunds", {"reference": "mine", "amount_cents": 400}
    statuses = [(await http.post(url, json=body, headers=key)).status_code for _ in range(3)]
    assert statuses == [500, 201, 201]
    (found,) = (await http.get(url, params={"reference": "mine"})).json()
    assert (found["amount_cents"], found["status"]) == (400, "refunded")
    assert (await http.post(url, json=body | {"amount_cents": 1}, headers=key)).status_code == 409
    assert (await http.post("/payments/nothing/refunds", json=body, headers=new_key())).status_code == 404


async def test_a_card_that_cannot_be_refunded(http: AsyncClient) -> None:
    payment = await pay(http, "capture", token="tok_not_refunded")
    refused = await create_refund(http, payment, 1)
    assert (refused["status"], refused["reason"]) == ("refused", "account_closed")


async def test_the_list_pages_by_change_and_survives_a_restart(simulators: Simulators, http: AsyncClient) -> None:
    """Each payment is listed at its last change. A payment that changes between two pages is listed again."""
    position = max((it["changed"] for it in (await http.get("/payments?limit=1000")).json()), default=0)
    first, *others = [await pay(http) for _ in range(4)]
    page = (await http.get("/payments", params={"since": position, "limit": 3})).json()
    assert [it["id"] for it in page] == [first["id"], others[0]["id"], others[1]["id"]]
    await http.post(f"/payments/{first['id']}/capture", headers=new_key())
    simulators.kill()
    await simulators.__aenter__()
    rest = (await http.get("/payments", params={"since": page[-1]["changed"]})).json()
    assert [(it["id"], it["status"]) for it in rest] == [(others[2]["id"], "authorized"), (first["id"], "captured")]


async def webhooks(receiver: WebhookReceiver, count: int) -> list[dict[str, Any]]:
    """Wait for a number of webhooks, and return all."""
    await wait_until(lambda: len(receiver.received) >= count, 20)
    return receiver.verified()


@pytest.fixture
async def webhook_url(http: AsyncClient, receiver: WebhookReceiver) -> None:
    """Webhooks of payments are sent at once."""
    url = {"provider_webhook_url": receiver.url, "provider_webhook_secret": SECRET}
    await change_settings(http, **url, provider_webhook_seconds=0)


@pytest.mark.usefixtures("webhook_url")
async def test_every_change_has_a_webhook(http: AsyncClient, receiver: WebhookReceiver) -> None:
    payment = await pay(http, "capture")
    await create_refund(http, payment, 300)
    voided, declined = await pay(http, "void"), await pay(http, token="tok_declined")
    received = await webhooks(receiver, 6)
    assert Counter((it["reference"], it["type"]) for it in received) == Counter(
        [
            (payment["reference"], "payment.authorized"),
            (payment["reference"], "payment.captured"),
            (payment["reference"], "payment.refunded"),
            (voided["reference"], "payment.authorized"),
            (voided["reference"], "payment.voided"),
            (declined["reference"], "payment.declined"),
        ]
    )


@pytest.mark.usefixtures("webhook_url")
async def test_webhooks_come_again_and_out_of_order(http: AsyncClient, receiver: WebhookReceiver) -> None:
    await change_settings(http, faults={"webhook_duplicate": 1})
    await pay(http)
    first, again = (await webhooks(receiver, 2))[:2]
    assert first == again
    await change_settings(http, faults={"webhook_late": 1}, webhook_late_seconds=1)
    orders = [(await pay(http, "capture"))["reference"] for _ in range(20)]
    received = await webhooks(receiver, 42)
    types = {id: [it["type"] for it in received if it["reference"] == id] for id in orders}
    assert ["payment.captured", "payment.authorized"] in types.values()


async def test_answers_are_kept_for_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    it = Simulation(str(tmp_path / "simulators.sqlite"), SimulatorSettings())
    acted: list[float] = []
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)

    def act() -> Answer:
        acted.append(now)
        return 200, {}

    for later in (0, 23 * 3600, 2 * 3600):
        now += later
        await it.answer_once("a key of mine", "do it", act)
        await it.answer_once(f"another key {later}", "do it", lambda: (200, {}))
    assert len(acted) == 2


async def test_a_state_file_of_the_first_version_is_upgraded(tmp_path: Path) -> None:
    path = str(tmp_path / "simulators.sqlite")
    old = sqlite3.connect(path)
    old.executescript(simulation._VERSIONS[0])
    old.execute("INSERT INTO payments VALUES ('pay_1', 'r', 500, 'EUR', 'tok_visa', 'captured', NULL)")
    old.execute("INSERT INTO requests VALUES ('key', 'capture', 1, 200, '{}')")
    old.commit()
    for _ in range(2):
        it = Simulation(path, SimulatorSettings())
        (payment,) = it.execute("SELECT * FROM payments")
        assert (payment["captured_cents"], payment["refunded_cents"], payment["changed"]) == (500, 0, 1)
    assert (await it.answer_once("key", "capture", lambda: (500, {}))).status_code == 200
