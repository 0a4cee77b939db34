"""Every row of the saga's table, and every message early, late and twice, on a real database."""

from collections.abc import Awaitable, Callable, Sequence
from itertools import permutations
from uuid import UUID

import pytest

from chassis.messaging.message import Command, Event
from chassis.tables import new_id, shape
from chassis.testing import Launch, Launched
from contracts.order import OrderCancelled, OrderDelivered, OrderEvent, OrderLine, OrderStatus
from contracts.payment import (
    AuthorizePayment,
    CapturePayment,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentCaptureRefused,
    PaymentDeclined,
    PaymentVoided,
    VoidPayment,
)
from contracts.product import (
    CommitStock,
    ReleaseStock,
    ReserveStock,
    StockCommitted,
    StockRejected,
    StockReleased,
    StockReserved,
)
from contracts.shipping import (
    CancelShipment,
    CreateShipment,
    ShipmentCancelled,
    ShipmentDelivered,
    ShipmentDispatched,
    ShipmentRejected,
)
from order import saga
from order.main import service
from order.models import Cart, Order, Step

Happening = type[Event] | str
DEADLINE = "deadline"
PATHS: dict[OrderStatus, list[Happening]] = {
    OrderStatus.PLACED: [],
    OrderStatus.RESERVED: [StockReserved],
    OrderStatus.CONFIRMED: [StockReserved, PaymentAuthorized],
    OrderStatus.WITHDRAWING: [StockReserved, PaymentAuthorized, DEADLINE],
    OrderStatus.CANCELLING: [StockReserved, PaymentAuthorized, ShipmentRejected],
    OrderStatus.SHIPPED: [StockReserved, PaymentAuthorized, ShipmentDispatched],
}
ROWS: list[tuple[OrderStatus, Happening, set[type[Command]], OrderStatus]] = [
    (OrderStatus.PLACED, StockReserved, {AuthorizePayment}, OrderStatus.RESERVED),
    (OrderStatus.PLACED, StockRejected, set(), OrderStatus.CANCELLED),
    (OrderStatus.PLACED, DEADLINE, {ReleaseStock}, OrderStatus.CANCELLING),
    (OrderStatus.RESERVED, PaymentAuthorized, {CreateShipment}, OrderStatus.CONFIRMED),
    (OrderStatus.RESERVED, PaymentDeclined, {ReleaseStock}, OrderStatus.CANCELLING),
    (OrderStatus.RESERVED, DEADLINE, {VoidPayment, ReleaseStock}, OrderStatus.CANCELLING),
    (OrderStatus.CONFIRMED, ShipmentDispatched, {CommitStock, CapturePayment}, OrderStatus.SHIPPED),
    (OrderStatus.CONFIRMED, ShipmentRejected, {VoidPayment, ReleaseStock}, OrderStatus.CANCELLING),
    (OrderStatus.CONFIRMED, DEADLINE, {CancelShipment}, OrderStatus.WITHDRAWING),
    (OrderStatus.WITHDRAWING, ShipmentCancelled, {VoidPayment, ReleaseStock}, OrderStatus.CANCELLING),
    (OrderStatus.WITHDRAWING, ShipmentRejected, {VoidPayment, ReleaseStock}, OrderStatus.CANCELLING),
    (OrderStatus.WITHDRAWING, ShipmentDispatched, {CommitStock, CapturePayment}, OrderStatus.SHIPPED),
    (OrderStatus.WITHDRAWING, DEADLINE, {CancelShipment}, OrderStatus.WITHDRAWING),
    (OrderStatus.CANCELLING, StockReleased, set(), OrderStatus.CANCELLING),
    (OrderStatus.CANCELLING, PaymentVoided, set(), OrderStatus.CANCELLING),
    (OrderStatus.CANCELLING, DEADLINE, {VoidPayment, ReleaseStock}, OrderStatus.CANCELLING),
    (OrderStatus.SHIPPED, StockCommitted, set(), OrderStatus.SHIPPED),
    (OrderStatus.SHIPPED, PaymentCaptured, set(), OrderStatus.SHIPPED),
    (OrderStatus.SHIPPED, PaymentCaptureRefused, set(), OrderStatus.SHIPPED),
    (OrderStatus.SHIPPED, ShipmentDelivered, set(), OrderStatus.DELIVERED),
]


class Story:
    """One order, and what happens to it."""

    def __init__(self, launched: Launched, order_id: UUID) -> None:
        self.launched, self.order_id = launched, order_id

    async def happen(self, *happenings: Happening) -> None:
        for it in happenings:
            if isinstance(it, str):
                await self._let_deadline_pass()
            else:
                await self.launched.send(self._message(it))

    def _message(self, type_: type[Event]) -> Event:
        values = {
            "product_ids": [],
            "reason": "because",
            "amount_cents": 1490,
            "currency": "EUR",
            "tracking_code": "T1",
        }
        return type_.model_validate({"order_id": self.order_id, **values})

    async def _let_deadline_pass(self) -> None:
        async with self.launched.instance.database.work() as work:
            (order,) = await work.lock(Order, id=[self.order_id])
            assert order.deadline is not None
            order.deadline = work.now
        await self.launched.settled()

    async def order(self) -> Order:
        return next(it for it in await self.launched.rows(Order) if it.id == self.order_id)

    async def commands(self) -> list[type[Command]]:
        return [type(it) for it in await self.launched.sent() if isinstance(it, Command)]

    async def check(self) -> None:
        """History is a path without gaps, announced move by move, and what is cancelled holds nothing."""
        order = await self.order()
        steps = sorted(await self.launched.rows(Step), key=lambda step: step.version)
        assert [step.version for step in steps] == list(range(1, order.version + 1))
        events = [it for it in await self.launched.sent() if isinstance(it, OrderEvent)]
        assert [(it.version, it.status) for it in events] == [(step.version, step.status) for step in steps]
        if order.status == OrderStatus.CANCELLED:
            assert order.stock in ("rejected", "released")
            assert order.payment in ("none", "declined", "voided")
            assert order.reason


@pytest.fixture
async def story(launch: Launch) -> Callable[..., Awaitable[Story]]:
    launched = await launch(service)

    async def begin(*happenings: Happening) -> Story:
        customer = new_id()
        line = OrderLine(product_id=new_id(), product_version=1, name="Lamp", quantity=2, price_cents=500)
        async with launched.instance.database.work() as work:
            await work.begin()
            work.add(Cart.new(id=new_id(), customer_id=customer, lines=[], changed_at=work.now))
        async with launched.instance.database.work() as work:
            (cart,) = await work.lock(Cart, customer_id=[customer])
            order = saga.place_order(work, cart, [line], new_id(), "tok_visa", "EUR")
        await launched.settled()
        it = Story(launched, order.id)
        await it.happen(*happenings)
        return it

    return begin


Begin = Callable[..., Awaitable[Story]]


@pytest.mark.parametrize(("status", "happening", "commands", "then"), ROWS)
async def test_row(
    story: Begin, status: OrderStatus, happening: Happening, commands: set[type[Command]], then: OrderStatus
) -> None:
    it = await story(*PATHS[status])
    assert (await it.order()).status == status
    before = len(await it.commands())
    await it.happen(happening)
    assert set((await it.commands())[before:]) == commands
    assert (await it.order()).status == then
    await it.check()


@pytest.mark.parametrize("status", list(PATHS))
@pytest.mark.parametrize("fact", list(saga.FACTS))
async def test_a_repeated_message_changes_nothing(story: Begin, status: OrderStatus, fact: type[Event]) -> None:
    """Each message in each status, whether it belongs there, comes early or comes late; and then once more."""
    it = await story(*PATHS[status], fact)
    once, commands = await it.order(), await it.commands()
    await it.happen(fact)
    assert shape(Order).values(await it.order()) == shape(Order).values(once)
    repeated = (await it.commands())[len(commands) :]
    assert set(repeated) <= {ReleaseStock, VoidPayment}  # what is alive too late is undone every time
    await it.check()


@pytest.mark.parametrize(
    "order_of_events", list(permutations([StockReserved, PaymentAuthorized, ShipmentDispatched, ShipmentDelivered]))
)
async def test_early_messages_wait(story: Begin, order_of_events: Sequence[type[Event]]) -> None:
    it = await story(*order_of_events)
    assert (await it.order()).status == OrderStatus.DELIVERED
    assert await it.commands() == [ReserveStock, AuthorizePayment, CreateShipment, CommitStock, CapturePayment]
    assert len(await it.launched.sent(OrderDelivered)) == 1
    await it.check()


@pytest.mark.parametrize("undone", list(permutations([StockReleased, PaymentVoided])))
async def test_an_order_is_cancelled_when_all_is_given_back(story: Begin, undone: Sequence[type[Event]]) -> None:
    it = await story(*PATHS[OrderStatus.CANCELLING], *undone)
    order = await it.order()
    assert (order.status, order.reason) == (OrderStatus.CANCELLED, "shipment_rejected")
    assert len(await it.launched.sent(OrderCancelled)) == 1
    await it.check()


async def test_what_becomes_alive_after_the_cancellation_is_undone_again(story: Begin) -> None:
    it = await story(DEADLINE, StockReleased)
    assert (await it.order()).status == OrderStatus.CANCELLED
    await it.happen(StockReserved, PaymentAuthorized)
    assert await it.commands() == [ReserveStock, ReleaseStock, ReleaseStock, VoidPayment]


@pytest.mark.parametrize("status", [OrderStatus.CANCELLING, OrderStatus.WITHDRAWING])
async def test_an_undo_that_is_not_answered_wants_attention(story: Begin, status: OrderStatus) -> None:
    it = await story(*PATHS[status], DEADLINE)
    assert (await it.order()).attention is None
    await it.happen(DEADLINE)
    assert (await it.order()).attention == "undo_unanswered"
    await it.happen(*([StockReleased, PaymentVoided] if status == OrderStatus.CANCELLING else [ShipmentDispatched]))
    assert (await it.order()).attention is None


async def test_a_refused_capture_wants_attention_until_it_is_made_good(story: Begin) -> None:
    it = await story(*PATHS[OrderStatus.SHIPPED], PaymentCaptureRefused, ShipmentDelivered)
    assert (await it.order()).attention == "capture_refused"
    await it.happen(PaymentCaptured)
    assert (await it.order()).attention is None


async def test_the_first_reason_stays(story: Begin) -> None:
    it = await story(StockReserved, DEADLINE, PaymentDeclined, StockReleased)
    order = await it.order()
    assert (order.status, order.reason) == (OrderStatus.CANCELLED, "payment_timed_out")


async def test_a_fact_of_an_unknown_order_is_parked(story: Begin) -> None:
    it = await story()
    await it.launched.send(StockReserved(order_id=new_id()))
    async with it.launched.as_staff() as staff:
        (parked,) = (await staff.get("/internal/parked")).json()
    assert "order_not_found" in parked["reason"]
