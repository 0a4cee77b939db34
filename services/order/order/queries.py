"""Every SELECT of order, by name."""

from uuid import UUID

from sqlalchemy import bindparam
from sqlmodel import col, select

from chassis.work import UnitOfWork
from order.errors import CartEmpty, OrderNotFound
from order.models import Cart, Order, Step

_cart = select(Cart).where(Cart.customer_id == bindparam("customer_id"))
_order = select(Order).where(Order.id == bindparam("id"))
_orders = (
    select(Order)
    .where(Order.customer_id == bindparam("customer_id"), Order.id < bindparam("before"))
    .order_by(col(Order.id).desc())
    .limit(bindparam("limit"))
)
_steps = select(Step).where(Step.order_id == bindparam("order_id")).order_by(col(Step.version))
NEWEST = UUID(int=2**128 - 1)


async def cart_of(work: UnitOfWork, customer_id: UUID) -> Cart | None:
    found = await work.one(_cart, customer_id=customer_id)
    return found


async def filled_cart_of(work: UnitOfWork, customer_id: UUID) -> Cart:
    cart = await cart_of(work, customer_id)
    if cart is None or not cart.lines:
        raise CartEmpty()
    return cart


async def order_by_id(work: UnitOfWork, id: UUID) -> Order:
    order = await work.one(_order, id=id)
    if order is None:
        raise OrderNotFound()
    return order


async def orders_of(work: UnitOfWork, customer_id: UUID, before: UUID, limit: int) -> list[Order]:
    """Newest first, from behind `before`."""
    return await work.fetch(_orders, customer_id=customer_id, before=before, limit=limit)


async def steps_of(work: UnitOfWork, order_id: UUID) -> list[Step]:
    return await work.fetch(_steps, order_id=order_id)
