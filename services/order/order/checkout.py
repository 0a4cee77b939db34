"""Routes of the cart, quotes and the checkout. Other services are called before any row is locked."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from chassis.calls import Token
from chassis.database import new_id
from chassis.web import Caller, IdempotencyKey, Router, Runtime, Work, raises
from contracts.order import CURRENCY, CartView, OrderLine, OrderView, PlaceOrder, PutCartLine, QuoteView, RequestQuote
from contracts.order_api import (
    CartEmpty,
    CartFull,
    PriceChanged,
    QuoteDoesNotFit,
    QuoteExpired,
    UnknownAddress,
)
from contracts.product_api import ProductNotFound
from order import queries, saga
from order.config import OrderSettings
from order.models import Cart, Quote
from order.pricing import Offer, goods_cents, make_offer, priced_line
from order.transitions import order_state

router = Router(tags=["Cart"])
MAX_CART_LINES = 50


@router.get("/cart")
async def get_cart(work: Work[OrderSettings], caller: Caller) -> CartView:
    """Get the cart

    A customer who has put nothing into the cart gets an empty one. Prices are those of the moment at which a line
    entered the cart; a quote or the checkout asks for the current ones.
    """
    found = await queries.cart_of_customer(work, caller.id)
    return _cart_view(found.lines if found else [])


@router.put("/cart/lines/{product_id}", responses=raises(ProductNotFound, CartFull))
async def put_cart_line(
    product_id: UUID, body: PutCartLine, work: Work[OrderSettings], caller: Caller, runtime: Runtime
) -> CartView:
    """Set the quantity of a product in the cart

    Adds the product, or changes its line. The line takes the current price of the product.
    """
    line = await priced_line(product_id, body.quantity, runtime)
    cart = await _lock_cart(work, caller.id)
    others = [it for it in cart.lines if it["product_id"] != str(product_id)]
    if len(others) >= MAX_CART_LINES:
        raise CartFull()
    return _save_cart(cart, [*others, line.model_dump(mode="json")], work)


@router.delete("/cart/lines/{product_id}")
async def delete_cart_line(product_id: UUID, work: Work[OrderSettings], caller: Caller) -> CartView:
    """Remove a product from the cart

    Returns the cart. A product that is not in the cart is not an error.
    """
    cart = await _lock_cart(work, caller.id)
    return _save_cart(cart, [it for it in cart.lines if it["product_id"] != str(product_id)], work)


@router.post("/quotes", status_code=201, responses=raises(CartEmpty, ProductNotFound, UnknownAddress))
async def request_quote(body: RequestQuote, work: Work[OrderSettings], caller: Caller, runtime: Runtime) -> QuoteView:
    """Request a quote for the cart

    The current prices, with shipping to the address, are promised until `valid_until`. Send the quote's id with the
    checkout of the same cart and address; a quote is good for one order.
    """
    in_cart = _order_lines(await queries.filled_cart_of_customer(work, caller.id))
    offered = await make_offer(in_cart, body.address_id, caller, runtime)
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


@router.post(
    "/checkouts",
    status_code=202,
    responses=raises(CartEmpty, PriceChanged, QuoteExpired, QuoteDoesNotFit, ProductNotFound, UnknownAddress),
)
async def check_out_cart(
    body: PlaceOrder, work: Work[OrderSettings], caller: Caller, runtime: Runtime, _: IdempotencyKey
) -> OrderView:
    """Check out the cart

    Places an order at the current prices, or at those of a quote, and deletes the cart. The order is placed, not yet
    confirmed: follow its status. If the total is not the one that the customer saw, nothing is ordered, and the
    problem holds the new `total_cents`.
    """
    cart = await queries.filled_cart_of_customer(work, caller.id)
    in_cart = _order_lines(cart)
    if body.quote_id is None:
        offered = await make_offer(in_cart, body.address_id, caller, runtime)
        expected_cents = goods_cents(in_cart) + offered.shipping_cents
    else:
        offered = await _redeem_quote(body.quote_id, in_cart, body.address_id, caller, work)
        expected_cents = offered.total_cents
    if offered.total_cents != (expected_cents if body.total_cents is None else body.total_cents):
        raise PriceChanged(total_cents=offered.total_cents)
    await work.lock(Cart, customer_id=[caller.id])
    locked = work.get(Cart, cart.id)
    if locked is None or locked.changed_at != cart.changed_at:
        raise PriceChanged("The cart has changed during the checkout.", total_cents=offered.total_cents)
    return OrderView.model_validate(order_state(saga.place_order(work, locked, *offered, body)))


async def _redeem_quote(
    id: UUID, in_cart: list[OrderLine], address_id: UUID, caller: Token, work: Work[OrderSettings]
) -> Offer:
    """Delete the quote, which is good for one order, and return its offer. Raises QuoteExpired and QuoteDoesNotFit."""
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


async def _lock_cart(work: Work[OrderSettings], customer_id: UUID) -> Cart:
    """The customer's cart under a lock; a new one if there was none."""
    for cart in await work.lock(Cart, customer_id=[customer_id]):
        return cart
    return work.add(Cart.new(id=new_id(), customer_id=customer_id, lines=[], changed_at=work.now))


def _save_cart(cart: Cart, lines: list[Any], work: Work[OrderSettings]) -> CartView:
    cart.lines, cart.changed_at = lines, work.now
    cart.expires_at = work.now + timedelta(seconds=work.settings.cart_seconds)
    return _cart_view(lines)


def _order_lines(cart: Cart) -> list[OrderLine]:
    return [OrderLine.model_validate(line) for line in cart.lines]


def _cart_view(lines: list[Any]) -> CartView:
    in_cart = [OrderLine.model_validate(line) for line in lines]
    return CartView(lines=in_cart, total_cents=goods_cents(in_cart), currency=CURRENCY)
