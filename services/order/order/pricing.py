"""The price of an order, from the products' prices and weights, the address, and the shipping rates."""

import asyncio
import time
from typing import NamedTuple
from uuid import UUID

from chassis.calls import Token
from chassis.errors import Problem
from chassis.service import Runtime
from contracts import product, product_api, shipping, shipping_api, user, user_api
from contracts.order import OrderLine
from contracts.order_api import UnknownAddress
from contracts.product_api import ProductNotFound
from order.config import OrderSettings


class Offer(NamedTuple):
    """Lines with their prices, and the price of shipping them."""

    lines: list[OrderLine]
    shipping_cents: int

    @property
    def total_cents(self) -> int:
        return goods_cents(self.lines) + self.shipping_cents


class ShippingRateCache:
    """The last shipping rates that were read. While shipping is unavailable, the rates from before are used."""

    def __init__(self, settings: OrderSettings) -> None:
        self._seconds = settings.rates_seconds
        self._known: shipping.RatesView | None = None
        self._asked_at = 0.0

    async def current(self, runtime: Runtime) -> shipping.RatesView:
        """The rates, read again when they are older than `rates_seconds`. Raises Problem if there are none yet."""
        if self._known is None or time.monotonic() - self._asked_at > self._seconds:
            self._asked_at = time.monotonic()
            try:
                self._known = await runtime.call(shipping_api.get_rates, as_service=True)
            except Problem:
                if self._known is None:
                    raise
        return self._known

    async def close(self) -> None:
        """Nothing to close: the cache holds no connection."""


async def make_offer(lines: list[OrderLine], address_id: UUID, caller: Token, runtime: Runtime) -> Offer:
    """Price these lines at today's prices, sent to this address of the caller.

    Raises ProductNotFound and UnknownAddress.
    """
    sold, address, rates = await asyncio.gather(
        _sold_products(lines, runtime),
        _address_of_caller(address_id, caller, runtime),
        runtime.resource(ShippingRateCache).current(runtime),
    )
    priced, grams = [], 0
    for line in lines:
        if (found := sold.get(line.product_id)) is None:
            raise ProductNotFound(f"{line.name} is no longer sold.", field="product_id")
        priced.append(order_line(found, line.quantity))
        grams += line.quantity * found.weight_grams
    return Offer(priced, rates.cents(address.country, grams))


async def _sold_products(lines: list[OrderLine], runtime: Runtime) -> dict[UUID, product.ProductView]:
    ids = ",".join(str(line.product_id) for line in lines)
    found = await runtime.call(product_api.list_products, query={"ids": ids})
    return {it.id: it for it in found.items}


async def _address_of_caller(id: UUID, caller: Token, runtime: Runtime) -> user.AddressView:
    try:
        query = {"customer_id": str(caller.id)}
        return await runtime.call(user_api.get_address, as_service=True, address_id=id, query=query)
    except user_api.AddressNotFound:
        raise UnknownAddress(field="address_id") from None


async def priced_line(product_id: UUID, quantity: int, runtime: Runtime) -> OrderLine:
    """A line with today's price of the product. Raises ProductNotFound."""
    try:
        return order_line(await runtime.call(product_api.get_product, product_id=product_id), quantity)
    except product_api.ProductNotFound:
        raise ProductNotFound() from None


def order_line(sold: product.ProductView, quantity: int) -> OrderLine:
    return OrderLine(
        product_id=sold.id,
        product_version=sold.version,
        name=sold.name,
        quantity=quantity,
        price_cents=sold.price_cents,
    )


def goods_cents(lines: list[OrderLine]) -> int:
    return sum(line.quantity * line.price_cents for line in lines)
