"""How carts and quotes end without a checkout: they expire, or their customer is erased."""

from chassis.database import UnitOfWork, rows
from contracts.user import ReportErasure, UserErased
from order import saga
from order.models import Cart, Quote

on, deadlines = saga.on, saga.deadlines


@deadlines(Cart.expires_at)
@deadlines(Quote.valid_until)
def remove_expired(row: Cart | Quote, work: UnitOfWork) -> None:
    work.remove(row)


@on(UserErased, needs=[rows(Cart, customer_id="user_id"), rows(Quote, customer_id="user_id")])
def erase_customer(event: UserErased, work: UnitOfWork) -> None:
    """Delete carts and quotes. Orders are kept for the books; their customer id no longer leads to a person."""
    personal = [*work.loaded(Cart, customer_id=event.user_id), *work.loaded(Quote, customer_id=event.user_id)]
    for row in personal:
        work.remove(row)
    report = ReportErasure(user_id=event.user_id, erasure_id=event.erasure_id, service="order", rows=len(personal))
    work.send(report)
