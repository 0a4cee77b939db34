"""The books: what happens to money is a posting, which always balances because one line names both of its accounts.

| what happened       | debit (to) | credit (from) |
|---------------------|------------|---------------|
| authorized          | held       | customer      |
| captured            | captured   | held          |
| voided, held        | voided     | held          |
| voided, captured    | voided     | captured      |
| refunded            | refunded   | captured      |

A balance is what came in less what went out: nothing is lost, so all of them together are zero.
"""

from chassis.tables import new_id
from chassis.work import UnitOfWork
from payment.models import LedgerAccount, LedgerEntry, Payment


def post(payment: Payment, cents: int, work: UnitOfWork, *, debit: LedgerAccount, credit: LedgerAccount) -> None:
    """Move so many cents of the payment from one account to another."""
    payment.reconciled = False
    entry = LedgerEntry.new(
        id=new_id(), order_id=payment.order_id, at=work.now, debit=debit, credit=credit, amount_cents=cents
    )
    work.add(entry)
