"""The way to an order: the cart, a quote for it, and checking out. What is asked of others is asked before the lock."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from chassis.auth import Token
from chassis.tables import new_id
from chassis.web import Caller, IdempotencyKey, Router, Runtime, Work
from contracts.order import CURRENCY, CartView, OrderLine, OrderView, PlaceOrder, PutCartLine, QuoteView, RequestQuote
from order import queries, saga
from order.errors import CartFull, PriceChanged, QuoteDoesNotFit, QuoteExpired
from order.models import Cart, Quote
from order.pricing import Offer, goods_cents, make_offer, priced_line
from order.transitions import order_state

router = Router()
MAX_CART_LINES = 50


@router.get("/cart")
async def get_cart(work: Work, caller: Caller) -> CartView:
    found = await queries.cart_of_customer(work, caller.id)
    return _cart_view(found.lines if found else [])


@router.put("/cart/lines/{product_id}")
async def put_cart_line(product_id: UUID, body: PutCartLine, work: Work, caller: Caller, runtime: Runtime) -> CartView:
    """Put so many of a product into the cart, at its price now."""
    line = await priced_line(product_id, body.quantity, runtime)
    mine = await _lock_cart(work, caller.id)
    others = [it for it in mine.lines if it["product_id"] != str(product_id)]
    if len(others) >= MAX_CART_LINES:
        raise CartFull()
    return _save_cart(mine, [*others, line.model_dump(mode="json")], work)


@router.delete("/cart/lines/{product_id}")
async def delete_cart_line(product_id: UUID, work: Work, caller: Caller) -> CartView:
    mine = await _lock_cart(work, caller.id)
    return _save_cart(mine, [it for it in mine.lines if it["product_id"] != str(product_id)], work)


@router.post("/quotes", status_code=201)
async def request_quote(body: RequestQuote, work: Work, caller: Caller, runtime: Runtime) -> QuoteView:
    """Promise the prices of now for a while."""
    seen = _order_lines(await queries.filled_cart_of_customer(work, caller.id))
    offered = await make_offer(seen, body.address_id, caller, runtime)
    await work.begin()
    quote = Quote.new(
        id=new_id(),
        customer_id=caller.id,
        address_id=body.address_id,
        lines=[line.model_dump(mode="json") for line in offered.lines],
        shipping_cents=offered.shipping_cents,
        total_cents=offered.total_cents,
        currency=CURRENCY,
        valid_until=work.now + timedelta(seconds=work.settings.quote_seconds),
    )
    return QuoteView.model_validate(work.add(quote), from_attributes=True)


@router.post("/checkouts", status_code=202)
async def check_out_cart(
    body: PlaceOrder, work: Work, caller: Caller, runtime: Runtime, _: IdempotencyKey
) -> OrderView:
    """Make an order of the cart, if its prices still hold or were promised."""
    seen = await queries.filled_cart_of_customer(work, caller.id)
    in_cart = _order_lines(seen)
    if body.quote_id is None:
        offered = await make_offer(in_cart, body.address_id, caller, runtime)
        expected_cents = goods_cents(in_cart) + offered.shipping_cents
    else:
        offered = await _redeem_quote(body.quote_id, in_cart, body.address_id, caller, work)
        expected_cents = offered.total_cents
    if offered.total_cents != (expected_cents if body.total_cents is None else body.total_cents):
        raise PriceChanged(total_cents=offered.total_cents)
    await work.lock(Cart, customer_id=[caller.id])
    mine = work.get(Cart, seen.id)
    if mine is None or mine.changed_at != seen.changed_at:
        raise PriceChanged("The cart has changed meanwhile.", total_cents=offered.total_cents)
    return OrderView.model_validate(order_state(saga.place_order(work, mine, *offered, body)))


async def _redeem_quote(id: UUID, in_cart: list[OrderLine], address_id: UUID, caller: Token, work: Work) -> Offer:
    """Take the quote away: it is good for one order."""
    for quote in await work.lock(Quote, id=[id]):
        if quote.customer_id != caller.id or quote.valid_until <= work.now:
            break
        lines = [OrderLine.model_validate(line) for line in quote.lines]
        wanted, quoted = ({(line.product_id, line.quantity) for line in some} for some in (in_cart, lines))
        if wanted != quoted or quote.address_id != address_id:
            raise QuoteDoesNotFit(field="quote_id")
        work.remove(quote)
        return Offer(lines, quote.shipping_cents)
    raise QuoteExpired(field="quote_id")


async def _lock_cart(work: Work, customer_id: UUID) -> Cart:
    for mine in await work.lock(Cart, customer_id=[customer_id]):
        return mine
    return work.add(Cart.new(id=new_id(), customer_id=customer_id, lines=[], changed_at=work.now))


def _save_cart(mine: Cart, lines: list[Any], work: Work) -> CartView:
    mine.lines, mine.changed_at = lines, work.now
    mine.expires_at = work.now + timedelta(seconds=work.settings.cart_seconds)
    return _cart_view(lines)


def _order_lines(cart: Cart) -> list[OrderLine]:
    return [OrderLine.model_validate(line) for line in cart.lines]


def _cart_view(lines: list[Any]) -> CartView:
    in_cart = [OrderLine.model_validate(line) for line in lines]
    return CartView(lines=in_cart, total_cents=goods_cents(in_cart), currency=CURRENCY)
