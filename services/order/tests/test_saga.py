"""Every row of the saga's table, and every event early, late and repeated, on a real database."""

from collections.abc import Awaitable, Callable, Sequence
from itertools import permutations
from uuid import UUID

import httpx
import pytest

from chassis.database import new_id
from chassis.database.tables import mapping_of
from chassis.message import Command, Event
from chassis.testing import Launch, Launched, token
from contracts.notification import Notify, Template
from contracts.order import (
    OrderCancelled,
    OrderDelivered,
    OrderEvent,
    OrderLine,
    OrderRefunded,
    OrderStatus,
    PlaceOrder,
)
from contracts.payment import (
    AuthorizePayment,
    CapturePayment,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentCaptureRefused,
    PaymentDeclined,
    PaymentRefunded,
    PaymentRefundRefused,
    PaymentVoided,
    RefundPayment,
    VoidPayment,
)
from contracts.product import (
    CommitStock,
    ReleaseStock,
    ReserveStock,
    RestockItems,
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
    ShipmentLost,
    ShipmentRejected,
)
from order import saga
from order.legs import FACTS
from order.main import service
from order.models import Cart, Order, Step

Stimulus = type[Event] | str
DEADLINE, CANCEL = "deadline", "the customer cancels"
PATHS: dict[OrderStatus, list[Stimulus]] = {
    OrderStatus.PLACED: [],
    OrderStatus.RESERVED: [StockReserved],
    OrderStatus.CONFIRMED: [StockReserved, PaymentAuthorized],
    OrderStatus.WITHDRAWING: [StockReserved, PaymentAuthorized, DEADLINE],
    OrderStatus.CANCELLING: [StockReserved, PaymentAuthorized, ShipmentRejected],
    OrderStatus.SHIPPED: [StockReserved, PaymentAuthorized, ShipmentDispatched],
    OrderStatus.DELIVERED: [StockReserved, PaymentAuthorized, ShipmentDispatched, ShipmentDelivered],
    OrderStatus.UNDELIVERED: [StockReserved, PaymentAuthorized, ShipmentDispatched, ShipmentLost],
}
ROWS: list[tuple[OrderStatus, Stimulus, set[type[Command]], OrderStatus]] = [
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
    (OrderStatus.SHIPPED, ShipmentLost, set(), OrderStatus.UNDELIVERED),
    (OrderStatus.SHIPPED, DEADLINE, set(), OrderStatus.SHIPPED),
    (OrderStatus.DELIVERED, DEADLINE, set(), OrderStatus.DELIVERED),
    (OrderStatus.DELIVERED, PaymentCaptured, set(), OrderStatus.DELIVERED),
    (OrderStatus.UNDELIVERED, DEADLINE, set(), OrderStatus.UNDELIVERED),
    (OrderStatus.UNDELIVERED, PaymentCaptured, {RefundPayment}, OrderStatus.UNDELIVERED),
    (OrderStatus.UNDELIVERED, PaymentCaptureRefused, {VoidPayment}, OrderStatus.UNDELIVERED),
    (OrderStatus.UNDELIVERED, PaymentVoided, set(), OrderStatus.REFUNDED),
    (OrderStatus.PLACED, CANCEL, {ReleaseStock}, OrderStatus.CANCELLING),
    (OrderStatus.RESERVED, CANCEL, {VoidPayment, ReleaseStock}, OrderStatus.CANCELLING),
    (OrderStatus.CONFIRMED, CANCEL, {CancelShipment}, OrderStatus.WITHDRAWING),
    (OrderStatus.WITHDRAWING, CANCEL, set(), OrderStatus.WITHDRAWING),
    (OrderStatus.CANCELLING, CANCEL, set(), OrderStatus.CANCELLING),
]


class OrderStory:
    """One order, the events and deadlines that reach it, and what it sends."""

    def __init__(self, launched: Launched, order_id: UUID) -> None:
        self.launched, self.order_id = launched, order_id

    async def apply(self, *stimuli: Stimulus) -> None:
        for it in stimuli:
            if it == DEADLINE:
                await self._let_deadline_pass()
            elif it == CANCEL:
                assert (await self.cancel()).status_code == 202
            elif not isinstance(it, str):
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

    async def cancel(self) -> httpx.Response:
        async with self.launched.as_customer((await self.order()).customer_id) as http:
            answer = await http.post(f"/orders/{self.order_id}/cancellation")
        await self.launched.settled()
        return answer

    async def return_goods(self, quantity: int, key: str | None = None) -> httpx.Response:
        order = await self.order()
        body = {"lines": [{"product_id": order.lines[0]["product_id"], "quantity": quantity}]}
        async with self.launched.as_customer(order.customer_id) as http:
            headers = {"Idempotency-Key": key or str(new_id())}
            return await http.post(f"/orders/{self.order_id}/returns", json=body, headers=headers)

    async def post_as_staff(self, path: str, **body: object) -> httpx.Response:
        async with self.launched.as_staff() as http:
            answer = await http.post(f"/orders/{self.order_id}/{path}", json=body)
        await self.launched.settled()
        return answer

    async def answer_refund(self) -> None:
        """Payment makes the last refund that was requested."""
        requested = (await self.launched.sent(RefundPayment))[-1]
        assert isinstance(requested, RefundPayment)
        await self.launched.send(PaymentRefunded(**requested.model_dump()))

    async def order(self) -> Order:
        return next(it for it in await self.launched.rows(Order) if it.id == self.order_id)

    async def commands(self) -> list[type[Command]]:
        """The types of the commands to product, payment and shipping."""
        return [type(it) for it in await self.launched.sent() if isinstance(it, Command) and not isinstance(it, Notify)]

    async def check(self) -> None:
        """The history has no gaps, each step has its event, and a cancelled order holds neither goods nor money."""
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
async def begin_story(launch: Launch) -> Callable[..., Awaitable[OrderStory]]:
    launched = await launch(service)

    async def begin(*stimuli: Stimulus) -> OrderStory:
        customer = new_id()
        line = OrderLine(product_id=new_id(), product_version=1, name="Lamp", quantity=2, price_cents=500)
        async with launched.instance.database.work() as work:
            await work.begin()
            work.add(Cart.new(id=new_id(), customer_id=customer, lines=[], changed_at=work.now))
        async with launched.instance.database.work() as work:
            (cart,) = await work.lock(Cart, customer_id=[customer])
            order = saga.place_order(work, cart, [line], 490, PlaceOrder(address_id=new_id(), payment_token="tok_visa"))
        await launched.settled()
        it = OrderStory(launched, order.id)
        await it.apply(*stimuli)
        return it

    return begin


Begin = Callable[..., Awaitable[OrderStory]]


@pytest.mark.parametrize(("status", "stimulus", "commands", "then"), ROWS)
async def test_a_row_of_the_table(
    begin_story: Begin, status: OrderStatus, stimulus: Stimulus, commands: set[type[Command]], then: OrderStatus
) -> None:
    it = await begin_story(*PATHS[status])
    assert (await it.order()).status == status
    before = len(await it.commands())
    await it.apply(stimulus)
    assert set((await it.commands())[before:]) == commands
    assert (await it.order()).status == then
    await it.check()


@pytest.mark.parametrize("status", list(PATHS))
@pytest.mark.parametrize("fact", list(FACTS))
async def test_a_repeated_event_changes_nothing(begin_story: Begin, status: OrderStatus, fact: type[Event]) -> None:
    """Each event in each status, where it is expected, early or late; and then the same event again."""
    it = await begin_story(*PATHS[status], fact)
    once, commands = await it.order(), await it.commands()
    await it.apply(fact)
    assert mapping_of(Order).values(await it.order()) == mapping_of(Order).values(once)
    repeated = (await it.commands())[len(commands) :]
    assert set(repeated) <= {ReleaseStock, VoidPayment}  # what a late event holds is released every time
    await it.check()


@pytest.mark.parametrize(
    "order_of_events", list(permutations([StockReserved, PaymentAuthorized, ShipmentDispatched, ShipmentDelivered]))
)
async def test_early_events_wait_in_their_leg(begin_story: Begin, order_of_events: Sequence[type[Event]]) -> None:
    it = await begin_story(*order_of_events)
    assert (await it.order()).status == OrderStatus.DELIVERED
    assert await it.commands() == [ReserveStock, AuthorizePayment, CreateShipment, CommitStock, CapturePayment]
    assert len(await it.launched.sent(OrderDelivered)) == 1
    await it.check()


@pytest.mark.parametrize("released", list(permutations([StockReleased, PaymentVoided])))
async def test_an_order_is_cancelled_once_goods_and_money_are_released(
    begin_story: Begin, released: Sequence[type[Event]]
) -> None:
    it = await begin_story(*PATHS[OrderStatus.CANCELLING], *released)
    order = await it.order()
    assert (order.status, order.reason) == (OrderStatus.CANCELLED, "shipment_rejected")
    assert len(await it.launched.sent(OrderCancelled)) == 1
    await it.check()


async def test_late_goods_and_money_of_a_cancelled_order_are_released(begin_story: Begin) -> None:
    it = await begin_story(DEADLINE, StockReleased)
    assert (await it.order()).status == OrderStatus.CANCELLED
    await it.apply(StockReserved, PaymentAuthorized)
    assert await it.commands() == [ReserveStock, ReleaseStock, ReleaseStock, VoidPayment]


@pytest.mark.parametrize("status", [OrderStatus.CANCELLING, OrderStatus.WITHDRAWING])
async def test_an_unanswered_command_needs_attention(begin_story: Begin, status: OrderStatus) -> None:
    it = await begin_story(*PATHS[status], DEADLINE)
    assert (await it.order()).attention is None
    await it.apply(DEADLINE)
    assert (await it.order()).attention == "unanswered"
    await it.apply(*([StockReleased, PaymentVoided] if status == OrderStatus.CANCELLING else [ShipmentDispatched]))
    assert (await it.order()).attention is None


async def test_a_refused_capture_needs_attention_until_it_succeeds(begin_story: Begin) -> None:
    it = await begin_story(*PATHS[OrderStatus.SHIPPED], PaymentCaptureRefused, ShipmentDelivered)
    assert (await it.order()).attention == "capture_refused"
    await it.apply(PaymentCaptured)
    assert (await it.order()).attention is None


async def test_the_first_reason_stays(begin_story: Begin) -> None:
    it = await begin_story(StockReserved, DEADLINE, PaymentDeclined, StockReleased)
    order = await it.order()
    assert (order.status, order.reason) == (OrderStatus.CANCELLED, "payment_timed_out")


async def test_an_event_of_an_unknown_order_is_a_dead_letter(begin_story: Begin) -> None:
    it = await begin_story()
    await it.launched.send(StockReserved(order_id=new_id()))
    async with it.launched.as_staff() as staff:
        (letter,) = (await staff.get("/internal/dead-letters")).json()
    assert "order_not_found" in letter["reason"]


PAID = [*PATHS[OrderStatus.DELIVERED], PaymentCaptured, StockCommitted]


async def test_goods_are_returned_in_two_parts(begin_story: Begin) -> None:
    """Two lamps at 500 and 490 for shipping: one lamp is returned, then the other, whose refund includes shipping."""
    it = await begin_story(*PAID)
    first = (await it.return_goods(1)).json()
    assert (first["state"], first["amount_cents"]) == ("announced", 500)
    assert (await it.commands())[-1] == CapturePayment  # no refund before the goods have arrived
    received = (await it.post_as_staff(f"returns/{first['id']}/receipt")).json()
    assert received["state"] == "requested"
    restocked: list[type[Command]] = [RestockItems, RefundPayment]
    assert (await it.commands())[-2:] == restocked
    await it.answer_refund()
    order = await it.order()
    assert (order.status, order.refunded_cents) == (OrderStatus.DELIVERED, 500)
    second = (await it.return_goods(1)).json()
    assert second["amount_cents"] == 500 + 490
    await it.post_as_staff(f"returns/{second['id']}/receipt")
    await it.answer_refund()
    order = await it.order()
    assert (order.status, order.refunded_cents, order.total_cents) == (OrderStatus.REFUNDED, 1490, 1490)
    refunded = [event for event in await it.launched.sent(OrderRefunded) if isinstance(event, OrderRefunded)]
    assert [event.refunded_cents for event in refunded] == [500, 1490]
    await it.check()


async def test_a_repeated_return_is_made_once(begin_story: Begin) -> None:
    it = await begin_story(*PAID)
    once, again = await it.return_goods(2, "key"), await it.return_goods(2, "key")
    assert once.json() == again.json()
    for _ in range(2):
        await it.post_as_staff(f"returns/{once.json()['id']}/receipt")
    assert (await it.commands()).count(RestockItems) == (await it.commands()).count(RefundPayment) == 1
    for _ in range(2):
        await it.answer_refund()
    assert len(await it.launched.sent(OrderRefunded)) == 1


async def test_impossible_returns_are_refused(begin_story: Begin) -> None:
    it = await begin_story(*PATHS[OrderStatus.SHIPPED])
    assert (await it.return_goods(1)).json()["code"] == "order_not_delivered"
    await it.apply(ShipmentDelivered)
    answer = await it.return_goods(3)
    assert (answer.json()["code"], answer.json()["errors"][0]["field"]) == ("return_exceeds_order", "lines")
    assert (await it.return_goods(2)).status_code == 201
    assert (await it.return_goods(1)).json()["code"] == "return_exceeds_order"
    assert (await it.post_as_staff(f"returns/{new_id()}/receipt")).json()["code"] == "refund_not_found"
    async with it.launched.instance.database.work() as work:
        (order,) = await work.lock(Order, id=[it.order_id])
        order.returnable_until = order.placed_at
    assert (await it.return_goods(1)).json()["code"] == "return_too_late"


async def test_a_refund_waits_for_the_capture(begin_story: Begin) -> None:
    it = await begin_story(*PATHS[OrderStatus.DELIVERED])
    back = (await it.return_goods(2)).json()
    assert (await it.post_as_staff(f"returns/{back['id']}/receipt")).json()["state"] == "awaiting_capture"
    await it.apply(PaymentCaptured)
    assert (await it.commands())[-1] == RefundPayment
    await it.answer_refund()
    assert (await it.order()).status == OrderStatus.REFUNDED


async def test_a_lost_parcel_is_refunded(begin_story: Begin) -> None:
    it = await begin_story(*PATHS[OrderStatus.SHIPPED], PaymentCaptured, ShipmentLost)
    assert (await it.commands())[-1] == RefundPayment
    assert (await it.order()).status == OrderStatus.UNDELIVERED
    await it.answer_refund()
    order = await it.order()
    assert (order.status, order.refunded_cents, order.reason) == (OrderStatus.REFUNDED, 1490, "parcel_lost")
    assert RestockItems not in await it.commands()
    await it.check()


async def test_resuming_requests_a_refused_refund_under_a_new_id(begin_story: Begin) -> None:
    it = await begin_story(*PATHS[OrderStatus.SHIPPED], PaymentCaptured, ShipmentLost)
    (requested,) = await it.launched.sent(RefundPayment)
    assert isinstance(requested, RefundPayment)
    refused = PaymentRefundRefused(order_id=it.order_id, refund_id=requested.refund_id, reason="card_expired")
    await it.launched.send(refused)
    assert (await it.order()).attention == "refund_refused"
    await it.post_as_staff("resumption")
    again = (await it.launched.sent(RefundPayment))[-1]
    assert isinstance(again, RefundPayment)
    assert again.refund_id != requested.refund_id
    await it.launched.send(refused)  # repeated: it is about the superseded refund id, and changes nothing
    assert (await it.order()).attention is None
    await it.answer_refund()
    order = await it.order()
    assert (order.status, order.attention) == (OrderStatus.REFUNDED, None)


@pytest.mark.parametrize(("write_off", "command"), [(False, CapturePayment), (True, VoidPayment)])
async def test_staff_resume_a_stuck_order(begin_story: Begin, write_off: bool, command: type[Command]) -> None:
    it = await begin_story(*PATHS[OrderStatus.SHIPPED], PaymentCaptureRefused, ShipmentDelivered)
    async with it.launched.as_staff() as staff:
        (stuck,) = (await staff.get("/stuck-orders")).json()["items"]
    assert (stuck["order_id"], stuck["attention"], stuck["payment"]) == (str(it.order_id), "capture_refused", "refused")
    assert (await it.post_as_staff("resumption", write_off=write_off)).status_code == 202
    assert (await it.commands())[-1] == command
    assert (await it.post_as_staff("resumption")).json()["code"] == "order_not_stuck"
    await it.apply(PaymentVoided if write_off else PaymentCaptured)
    back = (await it.return_goods(2)).json()
    state = (await it.post_as_staff(f"returns/{back['id']}/receipt")).json()["state"]
    assert state == ("refused" if write_off else "requested")  # money that was not captured is not refunded


async def test_a_capture_that_is_refused_again_needs_attention_again(begin_story: Begin) -> None:
    it = await begin_story(*PATHS[OrderStatus.SHIPPED], PaymentCaptureRefused)
    await it.post_as_staff("resumption")
    assert (await it.order()).attention is None
    await it.apply(PaymentCaptureRefused)
    assert (await it.order()).attention == "capture_refused"


async def test_an_unanswered_refund_is_requested_again(begin_story: Begin) -> None:
    it = await begin_story(*PATHS[OrderStatus.SHIPPED], PaymentCaptured, ShipmentLost, DEADLINE)
    first, second = await it.launched.sent(RefundPayment)
    assert first == second
    assert (await it.order()).attention is None
    await it.apply(DEADLINE)
    assert (await it.order()).attention == "unanswered"


async def test_a_parcel_that_has_left_is_not_cancelled(begin_story: Begin) -> None:
    it = await begin_story(*PATHS[OrderStatus.SHIPPED])
    assert (await it.cancel()).json()["code"] == "order_already_shipped"
    async with it.launched.as_customer() as stranger:
        answer = await stranger.post(f"/orders/{it.order_id}/cancellation")
    assert (answer.status_code, answer.json()["code"]) == (404, "order_not_found")


@pytest.mark.parametrize(("role", "status"), [("customer", 404), ("operator", 404), ("staff", 200)])
async def test_an_order_of_another_customer_is_shown_to_staff_only(begin_story: Begin, role: str, status: int) -> None:
    it = await begin_story()
    async with it.launched.client(token(new_id(), role)) as client:
        for path in ("", "/history", "/refunds"):
            assert (await client.get(f"/orders/{it.order_id}{path}")).status_code == status


@pytest.mark.parametrize(
    ("stimuli", "templates"),
    [
        ([*PAID, DEADLINE], ["order_confirmed", "order_shipped", "review_asked"]),
        ([StockRejected], ["order_cancelled"]),
        (
            [*PATHS[OrderStatus.SHIPPED], PaymentCaptured, ShipmentLost],
            ["order_confirmed", "order_shipped", "order_undelivered"],
        ),
        (
            [*PATHS[OrderStatus.SHIPPED], PaymentCaptureRefused, ShipmentLost, PaymentVoided],
            ["order_confirmed", "order_shipped", "order_undelivered"],  # no refund: no money was captured
        ),
        ([*PATHS[OrderStatus.CANCELLING], StockReleased, PaymentVoided], ["order_confirmed", "order_cancelled"]),
    ],
)
async def test_the_customer_is_notified(begin_story: Begin, stimuli: Sequence[Stimulus], templates: list[str]) -> None:
    it = await begin_story(*stimuli)
    mails = [mail for mail in await it.launched.sent(Notify) if isinstance(mail, Notify)]
    assert [mail.template for mail in mails] == [Template(name) for name in templates]
    assert len({mail.cause_id for mail in mails}) == len(mails)
    assert {mail.user_id for mail in mails} == {(await it.order()).customer_id}


async def test_the_payment_token_is_deleted_once_payment_has_it(begin_story: Begin) -> None:
    it = await begin_story()
    assert (await it.order()).payment_token == "tok_visa"
    await it.apply(StockReserved)
    assert (await it.order()).payment_token is None
