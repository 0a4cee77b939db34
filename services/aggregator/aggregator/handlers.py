"""The read models follow what their owners announce; what is older than the row is ignored."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from aggregator.models import Generation, Order, Product, Use
from chassis.database import UnitOfWork, rows
from chassis.messaging import Subscriptions
from contracts.aggregator import OrderStep
from contracts.order import ANNOUNCED, OrderEvent, OrderState
from contracts.product import ProductChanged
from contracts.user import ReportErasure, UserErased

on = Subscriptions()

# Read without a lock, or all consumers would go one by one. It is enough: a generation that a batch does not see yet
# is filled from exports that are read later, which know all that the batch can have been told.
GENERATIONS = rows(Generation, use=lambda *_: list(Use), lock=False)
FIRST_GENERATION = 1


@on(ProductChanged, needs=[GENERATIONS, rows(Product, id="product_id")])
def show_product(event: ProductChanged, work: UnitOfWork) -> None:
    for generation in generations(work):
        keep_product(generation, event.product_id, event.model_dump(exclude={"product_id"}), work)


@on(*ANNOUNCED.values(), needs=[GENERATIONS, rows(Order, order_id="order_id")])
def show_order(event: OrderEvent, work: UnitOfWork) -> None:
    step = OrderStep.model_validate(event, from_attributes=True)
    for generation in generations(work):
        keep_order(generation, event, [step], work)


@on(UserErased)
def report_erasure(event: UserErased, work: UnitOfWork) -> None:
    """Orders here have an id for their customer and nothing else, which now leads to nobody."""
    work.send(ReportErasure(user_id=event.user_id, erasure_id=event.erasure_id, service="aggregator", rows=0))


def generations(work: UnitOfWork) -> list[int]:
    found = work.loaded(Generation) or [work.add(Generation.new(id=FIRST_GENERATION, use=Use.SERVES))]
    return [it.id for it in found]


def keep_product(generation: int, id: UUID, state: dict[str, Any], work: UnitOfWork) -> None:
    row = work.get(Product, id, generation)
    if row is None:
        work.add(Product.new(id=id, generation=generation, **state))
    elif state["version"] > row.version:
        for name, value in state.items():
            setattr(row, name, value)


def keep_order(generation: int, order: OrderState, steps: Iterable[OrderStep], work: UnitOfWork) -> None:
    state = order.model_dump() | {"lines": [line.model_dump(mode="json") for line in order.lines]}
    row = work.get(Order, order.order_id, generation)
    if row is None:
        row = work.add(Order.new(generation=generation, **state))
    elif order.version > row.version:
        for name, value in state.items():
            setattr(row, name, value)
    known = {step["version"] for step in row.steps}
    if new := [step.model_dump(mode="json") for step in steps if step.version not in known]:
        row.steps = sorted([*row.steps, *new], key=lambda step: int(step["version"]))
