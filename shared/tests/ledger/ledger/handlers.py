"""What happens on messages and at moments. Nothing here notices a double, so that tests do."""

from typing import Any

from chassis.database import UnitOfWork, rows
from chassis.jobs import Deadlines
from chassis.messaging import Subscriptions
from ledger.messages import Book, Booked, Printed
from ledger.models import Account

on = Subscriptions()
deadlines = Deadlines()
INTEREST = -1  # what stands in a history for it
LEASE_SECONDS = 0.5


class Outside:
    """What tests decide: which numbers cannot be booked, and what the printer does."""

    broken: frozenset[int] = frozenset()

    async def print(self, account: Account, runtime: Any) -> str:
        return f"{account.id}: {account.balance}"


outside = Outside()


@on(Book, needs=rows(Account, id="account"))
def book(command: Book, work: UnitOfWork) -> None:
    if command.number in outside.broken:
        raise RuntimeError(f"{command.number} cannot be booked")
    account = work.get(Account, command.account) or work.add(Account.new(id=command.account, history=[]))
    account.balance += command.amount
    account.history = [*account.history, command.number]
    if command.statement:
        account.statement_at, account.causation = work.now, work.causation()
    work.send(Booked(account=account.id, number=command.number, balance=account.balance))


@on(Printed, needs=rows(Account, id="account"))
def printed(event: Printed, work: UnitOfWork) -> None:
    account = work.get(Account, event.account)
    assert account is not None
    account.statement = f"{account.statement} (printed)"


@deadlines(Account.interest_at)
def pay_interest(account: Account, work: UnitOfWork) -> None:
    if account.balance in outside.broken:
        raise RuntimeError(f"{account.id} gets no interest")
    account.interest_at = None
    account.history = [*account.history, INTEREST]


async def print_statement(account: Account, runtime: Any) -> str:
    return await outside.print(account, runtime)


@deadlines(Account.statement_at, call=print_statement, lease_seconds=LEASE_SECONDS)
def keep_statement(account: Account, outcome: str, work: UnitOfWork) -> None:
    if account.balance in outside.broken:
        raise RuntimeError(f"the statement of {account.id} cannot be kept")
    account.statement_at, account.statement = None, outcome
    work.send(Printed(account=account.id))
