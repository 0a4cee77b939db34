"""Periodic tasks: reconciling payments with the provider, and closing the books so that totals stay quick to add up.

No call to the provider is made inside a transaction. A run that fails continues the next time where it stopped.
"""

from datetime import timedelta
from uuid import UUID

from chassis.jobs import Tasks
from chassis.service import Runtime
from payment.config import PaymentSettings
from payment.models import Balance, Discrepancy, LedgerAccount, Payment, Reconciliation
from payment.provider import find_by_reference, list_changes
from payment.queries import (
    LOWEST_ID,
    compared_position,
    discrepancies_after,
    discrepant_ids_of_reference,
    movements_between,
    unknown_attempts,
    unreconciled_after,
)
from payment.reconciliation import ProviderBalance, compare_with_books, order_ids, retry_unknown_attempts

tasks = Tasks()
BATCH = 100
OPEN_PERIOD = timedelta(hours=1)  # longer than any transaction takes, and than any clock is wrong


@tasks.every(seconds=300)
async def reconcile(runtime: Runtime[PaymentSettings]) -> None:
    """Compare what the provider has changed, then what its list did not mention, then what differed before."""
    while await _compare_next_changes(runtime):
        pass
    after = LOWEST_ID
    while orders := await _unreconciled(after, runtime):
        for order_id in orders:
            await _compare_order(str(order_id), runtime)
        after = orders[-1]
    last = ""
    while discrepancies := await _known_discrepancies(last, runtime):
        for it in discrepancies:
            await _compare_order(it.reference, runtime)
        last = discrepancies[-1].provider_id


async def _compare_next_changes(runtime: Runtime[PaymentSettings]) -> bool:
    """Compare the next page of the provider's list of changes; False at its end."""
    async with runtime.database.work() as work:
        since = await compared_position(work)
    page = await list_changes(since, runtime)
    if not page:
        return False
    seen = [ProviderBalance.of(listed) for listed in page]
    async with runtime.database.work() as work:
        await compare_with_books(seen, work)
        await work.lock(Reconciliation, id=[1])
        reached = work.get(Reconciliation, 1) or work.add(Reconciliation.new(id=1, position=0, at=work.now))
        reached.position, reached.at = max(page[-1].changed, reached.position), work.now
    async with runtime.database.work() as work:
        await retry_unknown_attempts(order_ids(seen), work)
    return True


async def _compare_order(reference: str, runtime: Runtime[PaymentSettings]) -> None:
    """Compare all payments that the provider has, or once had, for an order."""
    seen = {listed.id: ProviderBalance.of(listed) for listed in await find_by_reference(reference, runtime)}
    orders = order_ids([ProviderBalance("", reference)])
    async with runtime.database.work() as work:
        payments = await work.lock(Payment, order_id=orders)
        ours = [payment.provider_id for payment in payments if payment.provider_id is not None]
        for id in [*ours, *await discrepant_ids_of_reference(work, reference)]:
            seen.setdefault(id, ProviderBalance(id, reference))
        await compare_with_books(list(seen.values()), work)
        if not ours and not await unknown_attempts(work, orders):
            for never_there in payments:
                never_there.reconciled = True
    async with runtime.database.work() as work:
        await retry_unknown_attempts(orders, work)


async def _unreconciled(after: UUID, runtime: Runtime[PaymentSettings]) -> list[UUID]:
    async with runtime.database.work() as work:
        return await unreconciled_after(work, after, BATCH)


async def _known_discrepancies(after: str, runtime: Runtime[PaymentSettings]) -> list[Discrepancy]:
    async with runtime.database.work() as work:
        return await discrepancies_after(work, after, BATCH)


@tasks.every(seconds=3600)
async def close_books(runtime: Runtime[PaymentSettings]) -> None:
    """Add the entries until an hour ago to the balances, so that totals need not add up all entries."""
    async with runtime.database.work() as work:
        await work.lock(Balance, account=list(LedgerAccount))
        until = UUID(int=int((work.now - OPEN_PERIOD).timestamp() * 1000) << 80)  # a UUIDv7 begins with milliseconds
        closed = {account: work.get(Balance, account) for account in LedgerAccount}
        since = max((it.closed_id for it in closed.values() if it), default=LOWEST_ID)
        cents = await movements_between(work, since, until)
        for account, balance in closed.items():
            balance = balance or work.add(Balance.new(account=account, cents=0, closed_id=since))
            balance.cents, balance.closed_id = balance.cents + cents[account], max(since, until)
