"""Aggregator: what the web shop is shown. Experience layer: it obeys nobody and announces nothing."""

from chassis.discovery import Api, Layer
from contracts.order import OrderView
from contracts.product import ProductView

api = Api("aggregator", Layer.EXPERIENCE)


class ProductDetail(ProductView):
    """A product and how many pieces can be had now. `partial` names what could not be found out."""

    available: int | None
    partial: list[str]


class OrderDetail(OrderView):
    """An order. `partial` names `status` when the newest one could not be found out."""

    partial: list[str]
