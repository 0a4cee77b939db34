"""The double-entry ledger: each movement of money is one entry with a debit and a credit account.

| what happened       | debit (to) | credit (from) |
|---------------------|------------|---------------|
| authorized          | held       | customer      |
| captured            | captured   | held          |
| voided, held        | voided     | held          |
| voided, captured    | voided     | captured      |
| refunded            | refunded   | captured      |

This is double-entry bookkeeping with both sides in one row. The balance of an account is its debits less its credits;
the balances of all accounts add up to zero.
"""

from chassis.database import UnitOfWork, new_id
from payment.models import LedgerAccount, LedgerEntry, Payment


def post(payment: Payment, cents: int, work: UnitOfWork, *, debit: LedgerAccount, credit: LedgerAccount) -> None:
    """Post an entry: move cents of the payment from the account `credit` to the account `debit`."""
    payment.reconciled = False
    entry = LedgerEntry.new(
        id=new_id(), order_id=payment.order_id, at=work.now, debit=debit, credit=credit, amount_cents=cents
    )
    work.add(entry)
