"""The read models follow what their owners announce; what is older than the row is ignored."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from aggregator.models import Generation, GenerationState, OrderReadModel, ProductReadModel
from chassis.subscriptions import Subscriptions, rows
from chassis.work import UnitOfWork
from contracts.aggregator import OrderStep
from contracts.order import ANNOUNCED, OrderEvent, OrderState
from contracts.product import ProductChanged
from contracts.user import ReportErasure, UserErased

on = Subscriptions()

# Read without a lock, or all consumers would go one by one. It is enough: a generation that a batch does not see yet
# is filled from exports that are read later, which know all that the batch can have been told.
GENERATIONS = rows(Generation, state=lambda *_: list(GenerationState), lock=False)
FIRST_GENERATION = 1


@on(ProductChanged, needs=[GENERATIONS, rows(ProductReadModel, id="product_id")])
def update_product(event: ProductChanged, work: UnitOfWork) -> None:
    for generation in generations(work):
        upsert_product(generation, event.product_id, event.model_dump(exclude={"product_id"}), work)


@on(*ANNOUNCED.values(), needs=[GENERATIONS, rows(OrderReadModel, order_id="order_id")])
def update_order(event: OrderEvent, work: UnitOfWork) -> None:
    step = OrderStep.model_validate(event, from_attributes=True)
    for generation in generations(work):
        upsert_order(generation, event, [step], work)


@on(UserErased)
def report_erasure(event: UserErased, work: UnitOfWork) -> None:
    """Orders here have an id for their customer and nothing else, which now leads to nobody."""
    work.send(ReportErasure(user_id=event.user_id, erasure_id=event.erasure_id, service="aggregator", rows=0))


def generations(work: UnitOfWork) -> list[int]:
    found = work.all(Generation) or [work.add(Generation.new(id=FIRST_GENERATION, state=GenerationState.ACTIVE))]
    return [it.id for it in found]


def upsert_product(generation: int, id: UUID, state: dict[str, Any], work: UnitOfWork) -> None:
    row = work.get(ProductReadModel, id, generation)
    if row is None:
        work.add(ProductReadModel.new(id=id, generation=generation, **state))
    elif state["version"] > row.version:
        for name, value in state.items():
            setattr(row, name, value)


def upsert_order(generation: int, order: OrderState, steps: Iterable[OrderStep], work: UnitOfWork) -> None:
    state = order.model_dump() | {"lines": [line.model_dump(mode="json") for line in order.lines]}
    row = work.get(OrderReadModel, order.order_id, generation)
    if row is None:
        row = work.add(OrderReadModel.new(generation=generation, **state))
    elif order.version > row.version:
        for name, value in state.items():
            setattr(row, name, value)
    known = {step["version"] for step in row.steps}
    if new := [step.model_dump(mode="json") for step in steps if step.version not in known]:
        row.steps = sorted([*row.steps, *new], key=lambda step: int(step["version"]))
