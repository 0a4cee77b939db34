"""Reconciliation with the provider: which discrepancies are found, settled, shown to staff and deleted."""

from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID

import httpx
import pytest

from chassis.database import new_id
from chassis.testing import Launched
from contracts.payment import PaymentAuthorized
from payment.models import Balance, Discrepancy, LedgerAccount, LedgerEntry, Payment, Reconciliation
from payment.tasks import close_books, reconcile
from simulators.server import Simulators

from .money import CENTS, PART, command, listed, pay, postpone_attempt, send


@pytest.fixture
def outside() -> Iterator[Simulators]:
    """A provider for each test, because reconciliation compares all payments of the provider."""
    with Simulators.temporary() as server:
        yield server


@pytest.fixture
async def provider(outside: Simulators) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=outside.url) as client:
        yield client


async def run_reconciliation(payment: Launched) -> list[dict[str, Any]]:
    """Reconcile, and return the discrepancies that staff see."""
    await reconcile(payment.instance.runtime)
    async with payment.as_staff() as staff:
        found: list[dict[str, Any]] = (await staff.get("/discrepancies")).json()["items"]
    return found


async def act(provider: httpx.AsyncClient, path: str, **body: Any) -> dict[str, Any]:
    """Change something at the provider without this service."""
    answer = await provider.post(path, json=body or None, headers={"Idempotency-Key": str(new_id())})
    done: dict[str, Any] = answer.raise_for_status().json()
    return done


def amounts(found: dict[str, Any]) -> list[int]:
    return [found[f"{whose}_{what}_cents"] for whose in ("our", "their") for what in ("held", "captured")]


async def test_payments_that_agree_are_compared_once_and_have_no_discrepancy(payment: Launched) -> None:
    for letters in ("A", "AC", "ACR", "AV", "ACV", "ACRV", "V"):
        await pay(payment, letters)
    await pay(payment, "A", "tok_declined")
    await pay(payment, "AC", "tok_not_captured")
    assert await run_reconciliation(payment) == []
    assert all(it.reconciled for it in await payment.rows(Payment))
    (reached,) = await payment.rows(Reconciliation)
    assert reached.position > 0
    await pay(payment, "AC")
    assert await run_reconciliation(payment) == []
    (later,) = await payment.rows(Reconciliation)
    assert later.position > reached.position


async def test_reconciliation_pages_through_any_number_of_payments(payment: Launched) -> None:
    orders = [new_id() for _ in range(250)]
    await send(payment, *(command("A", id) for id in orders))
    assert await run_reconciliation(payment) == []
    assert all(it.reconciled for it in await payment.rows(Payment))


async def test_an_unknown_outcome_is_settled(payment: Launched, provider: httpx.AsyncClient) -> None:
    order_id = new_id()
    await postpone_attempt(payment, provider, order_id)
    (found,) = await run_reconciliation(payment)
    assert (found["kind"], found["reference"], amounts(found)) == ("unsettled", str(order_id), [0, 0, CENTS, 0])
    await send(payment)
    assert [type(event) for event in await payment.sent()] == [PaymentAuthorized]
    assert await run_reconciliation(payment) == []


async def test_payments_that_are_unknown_here_are_shown(payment: Launched, provider: httpx.AsyncClient) -> None:
    """A payment of another shop, and a second payment for an order of ours."""
    order_id = await pay(payment, "AC")
    held = {"amount_cents": 70, "currency": "EUR", "token": "tok_visa"}
    for reference in ("a stranger", str(order_id)):
        await act(provider, "/payments", reference=reference, **held)
    found = await run_reconciliation(payment)
    assert {(it["kind"], it["reference"]) for it in found} == {("unknown", "a stranger"), ("unknown", str(order_id))}
    assert [amounts(it) for it in found] == [[0, 0, 70, 0]] * 2
    for it in found:
        await act(provider, f"/payments/{it['provider_id']}/void")
    assert await run_reconciliation(payment) == []


async def test_amounts_that_differ_are_shown_until_they_agree(payment: Launched, provider: httpx.AsyncClient) -> None:
    order_id = await pay(payment, "AC")
    (theirs,) = await listed(provider, order_id)
    await act(provider, f"/payments/{theirs['id']}/refunds", amount_cents=PART)
    (found,) = await run_reconciliation(payment)
    assert (found["kind"], amounts(found)) == ("differs", [0, CENTS, 0, CENTS - PART])
    (again,) = await run_reconciliation(payment)
    assert again == found
    await send(payment, command("V", order_id))
    assert await run_reconciliation(payment) == []
    assert await payment.rows(Discrepancy) == []


async def test_a_payment_that_the_provider_lost_is_shown(payment: Launched, outside: Simulators) -> None:
    """The provider comes back without its data, so that its list does not have the payment."""
    order_id = await pay(payment, "AC")
    outside.kill()
    for file in outside.folder.glob("simulators.sqlite*"):
        file.unlink()
    await outside.__aenter__()
    (found,) = await run_reconciliation(payment)
    assert (found["kind"], found["reference"], amounts(found)) == ("differs", str(order_id), [0, CENTS, 0, 0])
    assert not any(it.reconciled for it in await payment.rows(Payment))


async def test_reconciliation_succeeds_while_the_provider_has_faults(
    payment: Launched, provider: httpx.AsyncClient
) -> None:
    orders = [new_id() for _ in range(120)]
    await send(payment, *(command("A", id) for id in orders))
    (await provider.put("/settings", json={"faults": "harsh", "slow_seconds": 1})).raise_for_status()
    assert await run_reconciliation(payment) == []
    assert all(it.reconciled for it in await payment.rows(Payment))


async def test_closing_the_books_changes_no_total(payment: Launched) -> None:
    for letters in ("A", "AC", "ACR", "ACV"):
        await pay(payment, letters)
    async with payment.as_staff() as staff:
        before = (await staff.get("/totals")).json()
        await make_entries_older(payment)
        for _ in range(2):
            await close_books(payment.instance.runtime)
            assert (await staff.get("/totals")).json() == before
        closed = {it.account: it.cents for it in await payment.rows(Balance)}
        assert closed[LedgerAccount.CUSTOMER] == -4 * CENTS
        await pay(payment, "A")
        after = (await staff.get("/totals")).json()
    assert after == before | {"authorized_cents": before["authorized_cents"] + CENTS}


async def make_entries_older(payment: Launched) -> None:
    """Make all entries two hours older, by their ids, which begin with the time. The trigger would forbid it."""
    async with payment.instance.database.work() as work:
        await work.execute("ALTER TABLE ledger_entries DISABLE TRIGGER ledger_entries_are_final")
        for entry in await payment.rows(LedgerEntry):
            older = UUID(int=entry.id.int - (2 * 3_600_000 << 80))
            await work.execute("UPDATE ledger_entries SET id = $1 WHERE id = $2", older, entry.id)
        await work.execute("ALTER TABLE ledger_entries ENABLE TRIGGER ledger_entries_are_final")


@pytest.mark.parametrize("statement", ["UPDATE ledger_entries SET amount_cents = 1", "DELETE FROM ledger_entries"])
async def test_an_entry_is_final(payment: Launched, statement: str) -> None:
    await pay(payment, "A")
    async with payment.instance.database.work() as work:
        with pytest.raises(Exception, match="an entry is final"):
            await work.execute(statement)


async def test_only_staff_see_discrepancies(payment: Launched) -> None:
    async with payment.as_customer() as client:
        assert (await client.get("/discrepancies")).status_code == 403
