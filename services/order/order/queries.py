"""Every SELECT of order, by name."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, any_, bindparam
from sqlmodel import col, select

from chassis.database import UnitOfWork
from contracts.order_api import CartEmpty, OrderNotFound
from order.models import Cart, Order, Step

_cart = select(Cart).where(Cart.customer_id == bindparam("customer_id"))
_order = select(Order).where(Order.id == bindparam("id"))
_orders = (
    select(Order)
    .where(Order.customer_id == bindparam("customer_id"), Order.id < bindparam("before"))
    .order_by(col(Order.id).desc())
    .limit(bindparam("limit"))
)
_orders_after = select(Order).where(Order.id > bindparam("after")).order_by(col(Order.id)).limit(bindparam("limit"))
_stuck = (
    select(Order)
    .where(col(Order.attention).is_not(None), Order.id > bindparam("after"))
    .order_by(col(Order.id))
    .limit(bindparam("limit"))
)
_steps_of_orders = (
    select(Step)
    .where(col(Step.order_id) == any_(bindparam("ids", type_=ARRAY(Uuid))))
    .order_by(col(Step.order_id), col(Step.version))
)
_steps = select(Step).where(Step.order_id == bindparam("order_id")).order_by(col(Step.version))
LOWEST_ID, HIGHEST_ID = UUID(int=0), UUID(int=2**128 - 1)  # where paging begins


async def cart_of_customer(work: UnitOfWork, customer_id: UUID) -> Cart | None:
    found = await work.one(_cart, customer_id=customer_id)
    return found


async def filled_cart_of_customer(work: UnitOfWork, customer_id: UUID) -> Cart:
    cart = await cart_of_customer(work, customer_id)
    if cart is None or not cart.lines:
        raise CartEmpty()
    return cart


async def order_by_id(work: UnitOfWork, id: UUID) -> Order:
    order = await work.one(_order, id=id)
    if order is None:
        raise OrderNotFound()
    return order


async def orders_of_customer(work: UnitOfWork, customer_id: UUID, before: UUID, limit: int) -> list[Order]:
    """The newest first, beginning after `before`."""
    return await work.fetch(_orders, customer_id=customer_id, before=before, limit=limit)


async def steps_of_order(work: UnitOfWork, order_id: UUID) -> list[Step]:
    return await work.fetch(_steps, order_id=order_id)


async def orders_after(work: UnitOfWork, after: UUID, limit: int) -> list[Order]:
    """All orders by id, beginning after `after`."""
    return await work.fetch(_orders_after, after=after, limit=limit)


async def stuck_orders(work: UnitOfWork, after: UUID, limit: int) -> list[Order]:
    return await work.fetch(_stuck, after=after, limit=limit)


async def steps_of_orders(work: UnitOfWork, order_ids: Sequence[UUID]) -> list[Step]:
    return await work.fetch(_steps_of_orders, ids=order_ids)
