"""What an order costs: the prices and weights of its products, its address, and what sending it there costs."""

import asyncio
import time
from typing import NamedTuple
from uuid import UUID

from chassis.auth import Token
from chassis.errors import NotFound, Problem
from chassis.pages import Page
from chassis.service import Runtime
from contracts import product, shipping, user
from contracts.order import OrderLine
from order.config import OrderSettings
from order.errors import AddressNotFound, ProductNotFound


class Offer(NamedTuple):
    """Lines at a price, and the price of sending them."""

    lines: list[OrderLine]
    shipping_cents: int

    @property
    def total_cents(self) -> int:
        return goods_cents(self.lines) + self.shipping_cents


class Rates:
    """What sending costs, as shipping last said. When shipping is away, what it said before still holds."""

    def __init__(self, settings: OrderSettings) -> None:
        self._seconds = settings.rates_seconds
        self._known: shipping.RatesView | None = None
        self._asked_at = 0.0

    async def now(self, runtime: Runtime) -> shipping.RatesView:
        if self._known is None or time.monotonic() - self._asked_at > self._seconds:
            self._asked_at = time.monotonic()
            try:
                client = runtime.client(shipping.api, as_service=True)
                self._known = await client.get("/rates", into=shipping.RatesView)
            except Problem:
                if self._known is None:
                    raise
        return self._known

    async def close(self) -> None:
        """Nothing is held open."""


async def offer(lines: list[OrderLine], address_id: UUID, caller: Token, runtime: Runtime) -> Offer:
    """What these goods cost now, sent to this address of the caller."""
    sold, address, rates = await asyncio.gather(
        _sold(lines, runtime), _own_address(address_id, caller, runtime), runtime.hold(Rates).now(runtime)
    )
    priced, grams = [], 0
    for line in lines:
        if (found := sold.get(line.product_id)) is None:
            raise ProductNotFound(f"{line.name} is not sold any more.", field="product_id")
        priced.append(line_of(found, line.quantity))
        grams += line.quantity * found.weight_grams
    return Offer(priced, rates.cents(address.country, grams))


async def _sold(lines: list[OrderLine], runtime: Runtime) -> dict[UUID, product.ProductView]:
    ids = ",".join(str(line.product_id) for line in lines)
    found = await runtime.client(product.api).get("/products", params={"ids": ids}, into=Page[product.ProductView])
    return {it.id: it for it in found.items}


async def _own_address(id: UUID, caller: Token, runtime: Runtime) -> user.AddressView:
    try:
        client = runtime.client(user.api, as_service=True)
        return await client.get(f"/addresses/{id}", params={"customer_id": str(caller.id)}, into=user.AddressView)
    except NotFound:
        raise AddressNotFound(field="address_id") from None


async def line_at_price(product_id: UUID, quantity: int, runtime: Runtime) -> OrderLine:
    """So many of a product at its price now."""
    try:
        client = runtime.client(product.api)
        return line_of(await client.get(f"/products/{product_id}", into=product.ProductView), quantity)
    except NotFound:
        raise ProductNotFound() from None


def line_of(sold: product.ProductView, quantity: int) -> OrderLine:
    return OrderLine(
        product_id=sold.id,
        product_version=sold.version,
        name=sold.name,
        quantity=quantity,
        price_cents=sold.price_cents,
    )


def goods_cents(lines: list[OrderLine]) -> int:
    return sum(line.quantity * line.price_cents for line in lines)
