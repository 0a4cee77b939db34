"""The entrances of order: the cart, checking out, looking at orders."""

import asyncio
from typing import Any
from uuid import UUID

from chassis.auth import Token
from chassis.errors import NotFound
from chassis.pages import Cursor, Limit, Page, page, position
from chassis.tables import new_id
from chassis.web import Caller, IdempotencyKey, Router, Runtime, Work
from contracts import product, user
from contracts.order import CartView, OrderLine, OrderView, PlaceOrder, PutCartLine, StepView
from order import queries, saga
from order.errors import AddressNotFound, CartFull, OrderNotFound, PriceChanged, ProductNotFound
from order.models import Cart, Order

router = Router()
MOST_LINES = 50
CURRENCY = "EUR"


@router.get("/cart")
async def cart(work: Work, caller: Caller) -> CartView:
    found = await queries.cart_of(work, caller.id)
    return _cart_view(found.lines if found else [])


@router.put("/cart/lines/{product_id}")
async def put_line(product_id: UUID, body: PutCartLine, work: Work, caller: Caller, runtime: Runtime) -> CartView:
    """Put so many of a product into the cart, at its price now."""
    try:
        sold: product.ProductView = await runtime.client(product.api).get(
            f"/products/{product_id}", into=product.ProductView
        )
    except NotFound:
        raise ProductNotFound() from None
    mine = await _locked_cart(work, caller.id)
    others = [it for it in mine.lines if it["product_id"] != str(product_id)]
    if len(others) >= MOST_LINES:
        raise CartFull()
    mine.lines = [*others, _line(sold, body.quantity).model_dump(mode="json")]
    mine.changed_at = work.now
    return _cart_view(mine.lines)


@router.delete("/cart/lines/{product_id}")
async def delete_line(product_id: UUID, work: Work, caller: Caller) -> CartView:
    mine = await _locked_cart(work, caller.id)
    mine.lines = [it for it in mine.lines if it["product_id"] != str(product_id)]
    mine.changed_at = work.now
    return _cart_view(mine.lines)


@router.post("/checkouts", status_code=202)
async def check_out(body: PlaceOrder, work: Work, caller: Caller, runtime: Runtime, _: IdempotencyKey) -> OrderView:
    """Make an order of the cart, if its prices still hold. What was asked of others was asked before the lock."""
    seen = await queries.filled_cart_of(work, caller.id)
    sold, _address = await asyncio.gather(_sold(seen, runtime), _own_address(body.address_id, caller, runtime))
    in_cart = [OrderLine.model_validate(line) for line in seen.lines]
    lines = [_priced(line, sold) for line in in_cart]
    total_cents = _total(lines) + work.settings.shipping_cents
    expected_cents = _total(in_cart) + work.settings.shipping_cents
    if total_cents != (expected_cents if body.total_cents is None else body.total_cents):
        raise PriceChanged(total_cents=total_cents)
    await work.lock(Cart, customer_id=[caller.id])
    mine = work.get(Cart, seen.id)
    if mine is None or mine.changed_at != seen.changed_at:
        raise PriceChanged("The cart has changed meanwhile.", total_cents=total_cents)
    order = saga.place_order(work, mine, lines, body.address_id, body.payment_token, CURRENCY)
    return _view(order)


@router.get("/orders")
async def orders(work: Work, caller: Caller, cursor: Cursor = None, limit: Limit = 20) -> Page[OrderView]:
    (before,) = position(cursor, (queries.NEWEST,))
    found = await queries.orders_of(work, caller.id, before, limit + 1)
    return page(found, limit, _view, lambda order: (order.id,))


@router.get("/orders/{order_id}")
async def order(order_id: UUID, work: Work, caller: Caller) -> OrderView:
    return _view(await _visible(order_id, work, caller))


@router.get("/orders/{order_id}/history")
async def history(order_id: UUID, work: Work, caller: Caller) -> list[StepView]:
    await _visible(order_id, work, caller)
    return [StepView.model_validate(it, from_attributes=True) for it in await queries.steps_of(work, order_id)]


async def _locked_cart(work: Work, customer_id: UUID) -> Cart:
    for mine in await work.lock(Cart, customer_id=[customer_id]):
        return mine
    return work.add(Cart.new(id=new_id(), customer_id=customer_id, lines=[], changed_at=work.now))


async def _sold(cart: Cart, runtime: Runtime) -> dict[UUID, product.ProductView]:
    ids = ",".join(line["product_id"] for line in cart.lines)
    found = await runtime.client(product.api).get("/products", params={"ids": ids}, into=list[product.ProductView])
    return {it.id: it for it in found}


async def _own_address(id: UUID, caller: Token, runtime: Runtime) -> None:
    """Raise unless the address is the caller's."""
    try:
        client = runtime.client(user.api, as_service=True)
        await client.get(f"/addresses/{id}", params={"customer_id": str(caller.id)}, into=user.AddressView)
    except NotFound:
        raise AddressNotFound(field="address_id") from None


def _priced(line: OrderLine, sold: dict[UUID, product.ProductView]) -> OrderLine:
    now = sold.get(line.product_id)
    if now is None:
        raise ProductNotFound(f"{line.name} is not sold any more.", field="product_id")
    return _line(now, line.quantity)


def _line(sold: product.ProductView, quantity: int) -> OrderLine:
    return OrderLine(
        product_id=sold.id,
        product_version=sold.version,
        name=sold.name,
        quantity=quantity,
        price_cents=sold.price_cents,
    )


async def _visible(order_id: UUID, work: Work, caller: Token) -> Order:
    """Somebody else's order does not exist, except for staff."""
    found = await queries.order_by_id(work, order_id)
    if caller.subject != str(found.customer_id) and not caller.roles & {"staff", "service"}:
        raise OrderNotFound()
    return found


def _total(lines: list[OrderLine]) -> int:
    return sum(line.quantity * line.price_cents for line in lines)


def _cart_view(lines: list[Any]) -> CartView:
    in_cart = [OrderLine.model_validate(line) for line in lines]
    return CartView(lines=in_cart, total_cents=_total(in_cart), currency=CURRENCY)


def _view(order: Order) -> OrderView:
    return OrderView.model_validate(saga.state(order))
