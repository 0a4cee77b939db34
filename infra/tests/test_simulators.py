"""Payment provider and carrier as a process on a real port: answers, idempotency keys, webhooks, kill -9."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import psutil
import pytest
from httpx import AsyncClient

from simulators.server import Simulators

from .simulator_client import (
    SECRET,
    WebhookReceiver,
    change_settings,
    new_key,
    payment_request,
    shipment_request,
)
from .waiting import eventually, wait_until


@pytest.fixture
async def http(simulators: Simulators) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(base_url=simulators.url, timeout=5) as client:
        no_webhooks = {"carrier_webhook_url": "", "carrier_webhook_secret": ""}
        await change_settings(client, dispatch_seconds=3600, deliver_seconds=0, **no_webhooks)
        yield client


@pytest.fixture
def reference() -> str:
    return uuid4().hex


async def gained(http: AsyncClient, before: dict[str, int]) -> dict[str, int]:
    """The totals of the provider that have changed, and by how much."""
    return {name: cents - before[name] for name, cents in (await totals(http)).items() if cents != before[name]}


async def totals(http: AsyncClient) -> dict[str, int]:
    sums: dict[str, int] = (await http.get("/totals")).json()
    return sums


@pytest.mark.parametrize(
    ("token", "status", "reason"),
    [
        ("tok_visa", "authorized", None),
        ("tok_not_captured", "authorized", None),
        ("tok_declined", "declined", "card_declined"),
        ("tok_never_issued", "declined", "unknown_card"),
    ],
)
async def test_the_card_decides(http: AsyncClient, reference: str, token: str, status: str, reason: str | None) -> None:
    before = await totals(http)
    answer = await http.post("/payments", json=payment_request(token, reference), headers=new_key())
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
    payment = (await http.post("/payments", json=payment_request(token, reference), headers=new_key())).json()
    for verb in verbs:
        answer = await http.post(f"/payments/{payment['id']}/{verb}", headers=new_key())
        assert answer.status_code == 200
    assert answer.json()["status"] == status
    assert await gained(http, before) == {f"{status}_cents": 1_000}


async def test_a_request_is_carried_out_once_per_key(http: AsyncClient, reference: str) -> None:
    key = new_key()
    first = await http.post("/payments", json=payment_request("tok_visa", reference), headers=key)
    again = await http.post("/payments", json=payment_request("tok_visa", reference), headers=key)
    other = await http.post("/payments", json=payment_request("tok_visa", reference, cents=1), headers=key)
    assert first.json() == again.json()
    assert other.status_code == 409
    assert (await http.post("/payments", json=payment_request("tok_visa", reference))).status_code == 422
    assert (await http.get("/payments", params={"reference": reference})).json() == [first.json()]


@pytest.mark.parametrize(("fault", "done"), [("unavailable", 0), ("breaks", 1), ("slow", 1)])
@pytest.mark.parametrize("what", ["payments", "shipments"])
async def test_a_fault_strikes_once_per_key(
    http: AsyncClient, reference: str, what: str, fault: str, done: int
) -> None:
    postcode = {"unavailable": "99503", "breaks": "99500", "slow": "99504"}[fault]
    payment, shipment = payment_request(f"tok_{fault}", reference), shipment_request(reference, postcode=postcode)
    body, key = payment if what == "payments" else shipment, new_key()
    if fault == "slow":
        with pytest.raises(httpx.ReadTimeout):
            await http.post(f"/{what}", json=body, headers=key, timeout=0.3)
    else:
        assert (await http.post(f"/{what}", json=body, headers=key)).status_code >= 500
    found = (await http.get(f"/{what}", params={"reference": reference})).json()
    assert len(found) == done
    again = await http.post(f"/{what}", json=body, headers=key)
    assert again.status_code == 201
    assert (await http.get(f"/{what}", params={"reference": reference})).json() == [again.json()]


async def test_a_shipment_can_be_cancelled_until_it_is_dispatched(http: AsyncClient, reference: str) -> None:
    stays = (await http.post("/shipments", json=shipment_request(reference), headers=new_key())).json()
    for _ in range(2):
        assert (await http.post(f"/shipments/{stays['id']}/cancel")).json()["status"] == "cancelled"

    await change_settings(http, dispatch_seconds=0, deliver_seconds=3600)
    leaves = (await http.post("/shipments", json=shipment_request(reference), headers=new_key())).json()

    async def status() -> Any:
        return (await http.get(f"/shipments/{leaves['id']}")).json()["status"]

    await eventually(status, "dispatched")
    refused = await http.post(f"/shipments/{leaves['id']}/cancel")
    assert (refused.status_code, refused.json()["status"]) == (409, "dispatched")
    assert (await http.post("/shipments/nothing/cancel")).status_code == 404


async def test_some_countries_are_not_served(http: AsyncClient, reference: str) -> None:
    answer = await http.post("/shipments", json=shipment_request(reference, "XX"), headers=new_key())
    assert (answer.status_code, answer.json()) == (422, {"status": "rejected", "reason": "country_not_served"})
    assert (await http.get("/shipments", params={"reference": reference})).json() == []


async def test_webhooks_are_signed_and_repeated_until_acknowledged(
    simulators: Simulators, http: AsyncClient, reference: str, receiver: WebhookReceiver
) -> None:
    receiver.statuses = [500, 404]
    webhooks = {"carrier_webhook_url": receiver.url, "carrier_webhook_secret": SECRET}
    await change_settings(http, **webhooks, dispatch_seconds=0)
    shipment = (await http.post("/shipments", json=shipment_request(reference), headers=new_key())).json()
    await wait_until(lambda: len(receiver.received) == 4)  # two events, each refused once
    received = receiver.verified()
    assert {hook["type"] for hook in received} == {"shipment.dispatched", "shipment.delivered"}
    assert {(hook["id"], hook["tracking_code"]) for hook in received} == {(shipment["id"], shipment["tracking_code"])}
    assert len(set(receiver.ids())) == 2
    await wait_until(lambda: waiting_webhooks(simulators) == 0)
    assert len(receiver.received) == 4


def waiting_webhooks(simulators: Simulators) -> int:
    """How many webhooks would still be sent, now or later."""
    with sqlite3.connect(simulators.folder / "simulators.sqlite") as database:
        (count,) = database.execute("SELECT count(*) FROM webhooks").fetchone()
    database.close()
    return int(count)


async def test_bad_settings_change_nothing(http: AsyncClient) -> None:
    before = (await http.get("/settings")).json()
    for bad in ({"dispatch_seconds": -1}, {"unknown": 1}, {"carrier_webhook_url": "http://127.0.0.1:1"}):
        assert (await http.put("/settings", json=bad)).status_code == 422
    assert (await http.get("/settings")).json() == before


@pytest.mark.parametrize(
    ("variable", "value"),
    [("DISPATCH_SECONDS", "soon"), ("PROVIDER_WEBHOOK_URL", "http://127.0.0.1:1"), ("SIMULATORS_PORT", "many")],
)
async def test_bad_variables_end_the_program_with_one_line(
    simulators: Simulators, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    program = await asyncio.create_subprocess_exec(*simulators.argv(), stderr=asyncio.subprocess.PIPE)
    _, output = await program.communicate()
    (line,) = output.decode().splitlines()
    assert (program.returncode, line.startswith("simulators: ")) == (1, True)
    assert variable.removesuffix("_URL") in line.upper()


async def test_kill_9_loses_and_duplicates_nothing(
    simulators: Simulators, http: AsyncClient, reference: str, receiver: WebhookReceiver
) -> None:
    """Payments are requested, with retries, while the program is killed three times; a shipment goes on afterwards."""
    webhooks = {"CARRIER_WEBHOOK_URL": receiver.url, "CARRIER_WEBHOOK_SECRET": SECRET}
    simulators.settings = {**webhooks, "DISPATCH_SECONDS": "0.5", "DELIVER_SECONDS": "0.5"}
    simulators.kill()
    simulators.start()
    sent = (await http.post("/shipments", json=shipment_request(reference), headers=new_key())).json()
    ids: list[str] = []

    async def pay(number: int) -> None:
        headers, body = new_key(), payment_request("tok_visa", f"{reference}-{number}")
        while True:
            try:
                return ids.append((await http.post("/payments", json=body, headers=headers)).json()["id"])
            except httpx.TransportError:
                await asyncio.sleep(0.01)

    before = await totals(http)
    async with asyncio.TaskGroup() as paying:
        for number in range(400):
            paying.create_task(pay(number))
        for paid in (50, 150, 250):
            await wait_until(lambda paid=paid: len(ids) >= paid, 60)  # type: ignore[misc]
            simulators.kill()
            await simulators.__aenter__()  # start() would block the clients
    assert len(set(ids)) == 400
    assert await gained(http, before) == {"authorized_cents": 400 * 1_000}

    async def received() -> Any:
        return {(hook["id"], hook["type"]) for hook in receiver.verified()}

    await eventually(received, {(sent["id"], "shipment.dispatched"), (sent["id"], "shipment.delivered")})


async def test_it_costs_nothing_at_rest(simulators: Simulators, http: AsyncClient, reference: str) -> None:
    await http.post("/shipments", json=shipment_request(reference), headers=new_key())  # due in an hour
    assert simulators.process is not None
    process = psutil.Process(simulators.process.pid)
    before = process.cpu_times()
    await asyncio.sleep(3)
    after = process.cpu_times()
    assert after.user + after.system - before.user - before.system <= 0.03
