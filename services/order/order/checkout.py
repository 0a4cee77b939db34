"""The way to an order: the cart, a quote for it, and checking out. What is asked of others is asked before the lock."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from chassis.calls import Token
from chassis.database import new_id
from chassis.web import Caller, IdempotencyKey, Router, Runtime, Work
from contracts.order import CURRENCY, AskQuote, CartView, OrderLine, OrderView, PlaceOrder, PutCartLine, QuoteView
from order import queries, saga
from order.errors import CartFull, PriceChanged, QuoteDoesNotFit, QuoteExpired
from order.models import Cart, Quote
from order.moves import state
from order.pricing import Offer, goods_cents, line_at_price, offer

router = Router()
MOST_LINES = 50


@router.get("/cart")
async def cart(work: Work, caller: Caller) -> CartView:
    found = await queries.cart_of(work, caller.id)
    return _cart_view(found.lines if found else [])


@router.put("/cart/lines/{product_id}")
async def put_line(product_id: UUID, body: PutCartLine, work: Work, caller: Caller, runtime: Runtime) -> CartView:
    """Put so many of a product into the cart, at its price now."""
    line = await line_at_price(product_id, body.quantity, runtime)
    mine = await _locked_cart(work, caller.id)
    others = [it for it in mine.lines if it["product_id"] != str(product_id)]
    if len(others) >= MOST_LINES:
        raise CartFull()
    return _changed(mine, [*others, line.model_dump(mode="json")], work)


@router.delete("/cart/lines/{product_id}")
async def delete_line(product_id: UUID, work: Work, caller: Caller) -> CartView:
    mine = await _locked_cart(work, caller.id)
    return _changed(mine, [it for it in mine.lines if it["product_id"] != str(product_id)], work)


@router.post("/quotes", status_code=201)
async def ask_quote(body: AskQuote, work: Work, caller: Caller, runtime: Runtime) -> QuoteView:
    """Promise the prices of now for a while."""
    seen = _lines(await queries.filled_cart_of(work, caller.id))
    offered = await offer(seen, body.address_id, caller, runtime)
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
async def check_out(body: PlaceOrder, work: Work, caller: Caller, runtime: Runtime, _: IdempotencyKey) -> OrderView:
    """Make an order of the cart, if its prices still hold or were promised."""
    seen = await queries.filled_cart_of(work, caller.id)
    in_cart = _lines(seen)
    if body.quote_id is None:
        offered = await offer(in_cart, body.address_id, caller, runtime)
        expected_cents = goods_cents(in_cart) + offered.shipping_cents
    else:
        offered = await _promised(body.quote_id, in_cart, body.address_id, caller, work)
        expected_cents = offered.total_cents
    if offered.total_cents != (expected_cents if body.total_cents is None else body.total_cents):
        raise PriceChanged(total_cents=offered.total_cents)
    await work.lock(Cart, customer_id=[caller.id])
    mine = work.get(Cart, seen.id)
    if mine is None or mine.changed_at != seen.changed_at:
        raise PriceChanged("The cart has changed meanwhile.", total_cents=offered.total_cents)
    return OrderView.model_validate(state(saga.place_order(work, mine, *offered, body)))


async def _promised(id: UUID, in_cart: list[OrderLine], address_id: UUID, caller: Token, work: Work) -> Offer:
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


async def _locked_cart(work: Work, customer_id: UUID) -> Cart:
    for mine in await work.lock(Cart, customer_id=[customer_id]):
        return mine
    return work.add(Cart.new(id=new_id(), customer_id=customer_id, lines=[], changed_at=work.now))


def _changed(mine: Cart, lines: list[Any], work: Work) -> CartView:
    mine.lines, mine.changed_at = lines, work.now
    mine.expires_at = work.now + timedelta(seconds=work.settings.cart_seconds)
    return _cart_view(lines)


def _lines(cart: Cart) -> list[OrderLine]:
    return [OrderLine.model_validate(line) for line in cart.lines]


def _cart_view(lines: list[Any]) -> CartView:
    in_cart = [OrderLine.model_validate(line) for line in lines]
    return CartView(lines=in_cart, total_cents=goods_cents(in_cart), currency=CURRENCY)
