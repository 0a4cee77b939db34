"""The read models follow what their owners announce; what is older than the row is ignored."""

from typing import Any

from aggregator.models import Order, Product
from chassis.subscriptions import Subscriptions, rows
from chassis.work import UnitOfWork
from contracts.order import ANNOUNCED, OrderEvent
from contracts.product import ProductChanged

on = Subscriptions()


@on(ProductChanged, needs=rows(Product, id="product_id"))
def show_product(event: ProductChanged, work: UnitOfWork) -> None:
    state = event.model_dump(exclude={"product_id"})
    _show(work.get(Product, event.product_id) or work.add(Product.new(id=event.product_id, **state)), state)


@on(*ANNOUNCED.values(), needs=rows(Order, order_id="order_id"))
def show_order(event: OrderEvent, work: UnitOfWork) -> None:
    state = event.model_dump() | {"lines": [line.model_dump(mode="json") for line in event.lines]}
    _show(work.get(Order, event.order_id) or work.add(Order.new(**state)), state)


def _show(row: Product | Order, state: dict[str, Any]) -> None:
    if state["version"] > row.version:
        for name, value in state.items():
            setattr(row, name, value)
