"""What is done every so often: the books are compared with the provider's, and closed, so that they stay quick to add.

No call to the provider is made inside a transaction. A run that fails goes on the next time where it was.
"""

from datetime import timedelta
from uuid import UUID

from chassis.jobs import Tasks
from chassis.service import Runtime
from payment.models import Account, Balance, Discrepancy, Payment, Reconciliation
from payment.provider import changed_since, of_reference
from payment.queries import (
    NEVER,
    discrepancies_after,
    doubtful_of_reference,
    moved,
    position,
    unknown_attempts,
    unreconciled_after,
)
from payment.reconciliation import Seen, compare, order_ids, settle

tasks = Tasks()
BATCH = 100
OPEN_FOR = timedelta(hours=1)  # no transaction takes that long, and no clock is that wrong


@tasks.every(seconds=300)
async def reconcile(runtime: Runtime) -> None:
    """Look at what the provider has changed, then at what it did not mention, then at where we did not agree."""
    while await _next_page(runtime):
        pass
    after = NEVER
    while orders := await _unreconciled(after, runtime):
        for order_id in orders:
            await _look_up(str(order_id), runtime)
        after = orders[-1]
    last = ""
    while doubtful := await _doubtful(last, runtime):
        for it in doubtful:
            await _look_up(it.reference, runtime)
        last = doubtful[-1].provider_id


async def _next_page(runtime: Runtime) -> bool:
    async with runtime.database.work() as work:
        since = await position(work)
    page = await changed_since(since, runtime)
    if not page:
        return False
    seen = [Seen.of(listed) for listed in page]
    async with runtime.database.work() as work:
        await compare(seen, work)
        await work.lock(Reconciliation, id=[1])
        reached = work.get(Reconciliation, 1) or work.add(Reconciliation.new(id=1, position=0, at=work.now))
        reached.position, reached.at = max(page[-1].changed, reached.position), work.now
    async with runtime.database.work() as work:
        await settle(order_ids(seen), work)
    return True


async def _look_up(reference: str, runtime: Runtime) -> None:
    """Compare all that the provider has, or once had, for an order."""
    seen = {listed.id: Seen.of(listed) for listed in await of_reference(reference, runtime)}
    orders = order_ids([Seen("", reference)])
    async with runtime.database.work() as work:
        payments = await work.lock(Payment, order_id=orders)
        ours = [payment.provider_id for payment in payments if payment.provider_id is not None]
        for id in [*ours, *await doubtful_of_reference(work, reference)]:
            seen.setdefault(id, Seen(id, reference))
        await compare(list(seen.values()), work)
        if not ours and not await unknown_attempts(work, orders):
            for never_there in payments:
                never_there.reconciled = True
    async with runtime.database.work() as work:
        await settle(orders, work)


async def _unreconciled(after: UUID, runtime: Runtime) -> list[UUID]:
    async with runtime.database.work() as work:
        return await unreconciled_after(work, after, BATCH)


async def _doubtful(after: str, runtime: Runtime) -> list[Discrepancy]:
    async with runtime.database.work() as work:
        return await discrepancies_after(work, after, BATCH)


@tasks.every(seconds=3600)
async def close_books(runtime: Runtime) -> None:
    """Add what was moved until an hour ago to the balances, so that totals are not a sum over all there ever was."""
    async with runtime.database.work() as work:
        await work.lock(Balance, account=list(Account))
        until = UUID(int=int((work.now - OPEN_FOR).timestamp() * 1000) << 80)  # UUIDv7 begin with milliseconds
        closed = {account: work.get(Balance, account) for account in Account}
        since = max((it.closed_id for it in closed.values() if it), default=NEVER)
        cents = await moved(work, since, until)
        for account, balance in closed.items():
            balance = balance or work.add(Balance.new(account=account, cents=0, closed_id=since))
            balance.cents, balance.closed_id = balance.cents + cents[account], max(since, until)
