"""Message handlers: the read models follow the events of their owners, each by itself (choreography).

An event older than the row is ignored, by its version (optimistic locking).
"""

from collections.abc import Iterable
from typing import Any, TypeVar
from uuid import UUID

from aggregator.models import Generation, GenerationState, OrderReadModel, ProductReadModel
from chassis.database import UnitOfWork, rows
from chassis.messaging import Subscriptions
from contracts.aggregator import OrderStep
from contracts.order import ANNOUNCED, OrderEvent, OrderState
from contracts.product import ProductChanged
from contracts.user import ReportErasure, UserErased

on = Subscriptions()
R = TypeVar("R", ProductReadModel, OrderReadModel)

# Read without a lock, because a lock would make all consumers wait for each other. That is safe: a generation that a
# batch does not see yet is filled from exports that are read later, and those contain every event of the batch.
GENERATIONS = rows(Generation, state=lambda *_: list(GenerationState), lock=False)


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
    """Report that nothing had to be deleted: orders contain the id of their customer, whose account is gone."""
    work.send(ReportErasure(user_id=event.user_id, erasure_id=event.erasure_id, service="aggregator", rows=0))


def generations(work: UnitOfWork) -> list[int]:
    """The generations into which events are written: the active one, and one that is being built."""
    return [it.id for it in work.loaded(Generation) or [add_first_generation(work)]]


def add_first_generation(work: UnitOfWork) -> Generation:
    return work.add(Generation.new(id=1, state=GenerationState.ACTIVE))


def upsert_product(generation: int, id: UUID, state: dict[str, Any], work: UnitOfWork) -> None:
    _upsert(ProductReadModel, (id, generation), {"id": id, "generation": generation, **state}, work)


def upsert_order(generation: int, order: OrderState, steps: Iterable[OrderStep], work: UnitOfWork) -> None:
    """Every step is kept, also one of an event that is older than the row."""
    state = order.model_dump() | {"generation": generation, "lines": [it.model_dump(mode="json") for it in order.lines]}
    row = _upsert(OrderReadModel, (order.order_id, generation), state, work)
    known = {step["version"] for step in row.steps}
    if new := [step.model_dump(mode="json") for step in steps if step.version not in known]:
        row.steps = sorted([*row.steps, *new], key=lambda step: int(step["version"]))


def _upsert(table: type[R], key: tuple[UUID, int], state: dict[str, Any], work: UnitOfWork) -> R:
    """The row of this key, in this state unless the state is older than the row."""
    row = work.get(table, *key)
    if row is None:
        return work.add(table.new(**state))
    if state["version"] > row.version:
        for name, value in state.items():
            setattr(row, name, value)
    return row
