"""In any interleaving of messages, cancels and deadlines an order ends in line with its goods, money and parcel.

Stock, payment and carrier are models of their services' tables. Hypothesis chooses which service acts next, which
message comes late, early or repeated, which captures and refunds are refused, and when the customer cancels, returns
goods or is erased, or a deadline passes. The handlers are the real ones, on PostgreSQL. They are called directly: the
inbox would hide the repeated messages from them.
"""

from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from chassis.database import UnitOfWork, new_id
from chassis.database.loading import load_rows
from chassis.message import Message
from chassis.testing import Launch, Launched
from contracts import payment as pay
from contracts import product as stock
from contracts import shipping as ship
from contracts.order import OrderLine, PlaceOrder, RefundState
from contracts.order_api import OrderAlreadyShipped, OrderNotDelivered, ReturnExceedsOrder
from contracts.user import UserErased
from order import handlers, refunds, saga
from order.config import OrderSettings
from order.main import service
from order.models import Cart, Order
from order.queries import steps_of_order

MOVES = {
    (None, "placed"),
    ("placed", "reserved"),
    ("placed", "cancelled"),
    ("placed", "cancelling"),
    ("reserved", "confirmed"),
    ("reserved", "cancelling"),
    ("confirmed", "shipped"),
    ("confirmed", "cancelling"),
    ("confirmed", "withdrawing"),
    ("withdrawing", "shipped"),
    ("withdrawing", "cancelling"),
    ("cancelling", "cancelled"),
    ("shipped", "delivered"),
    ("shipped", "undelivered"),
    ("delivered", "delivered"),
    ("delivered", "refunded"),
    ("undelivered", "refunded"),
}
ACTIONS = [
    *["execute", "answer"] * 5,
    "advance_parcel",
    "repeat",
    "return",
    "return",
    "cancel",
    "deadline",
    "resume",
    "erase",
]
FINAL = ("cancelled", "delivered", "refunded")


class StockModel:
    """The goods of the order at the product service."""

    def __init__(self, enough: bool) -> None:
        self.enough, self.hold, self.restocked = enough, "none", 0

    def execute(self, command: Any) -> Message:
        id = command.order_id
        match command, self.hold:
            case stock.ReserveStock(), "none":
                self.hold = "reserved" if self.enough else "rejected"
            case stock.CommitStock(), "reserved":
                self.hold = "committed"
            case stock.CommitStock(), hold if hold != "committed":
                raise AssertionError(f"goods leave that are {hold}")
            case stock.ReleaseStock(), "none" | "reserved":
                self.hold = "released"
            case stock.RestockItems(), _:
                self.restocked += sum(line.quantity for line in command.lines)
                return stock.ItemsRestocked(order_id=id, return_id=command.return_id)
        match command, self.hold:
            case stock.ReserveStock(), "reserved" | "committed":
                return stock.StockReserved(order_id=id)
            case stock.ReserveStock(), _:
                return stock.StockRejected(order_id=id, product_ids=[])
            case _, "committed":
                return stock.StockCommitted(order_id=id)
        return stock.StockReleased(order_id=id)


class PaymentModel:
    """The money of the order at the payment service. Refuses the first refunds, `refusals` of them, for good."""

    def __init__(self, good_card: bool, captures: bool, refusals: int) -> None:
        self.good_card, self.captures, self.refusals = good_card, captures, refusals
        self.state, self.cents, self.refunds, self.refused = "none", 0, dict[Any, int](), set[Any]()

    def execute(self, command: Any) -> Message:
        id = command.order_id
        match command, self.state:
            case pay.AuthorizePayment(), "none":
                self.state, self.cents = ("authorized" if self.good_card else "declined"), command.amount_cents
            case pay.CapturePayment(), "authorized":
                self.state = "captured" if self.captures else "authorized"
                self.captures = True  # the next attempt succeeds
                if self.state == "authorized":
                    return pay.PaymentCaptureRefused(order_id=id, reason="later")
            case pay.CapturePayment(), state if state != "captured":
                return pay.PaymentCaptureRefused(order_id=id, reason=state)
            case pay.VoidPayment(), state if state != "declined":
                self.state = "voided"
            case pay.RefundPayment(), "captured" if self._refuses(command.refund_id):
                return pay.PaymentRefundRefused(order_id=id, refund_id=command.refund_id, reason="account_closed")
            case pay.RefundPayment(), "captured":
                self.refunds[command.refund_id] = command.amount_cents
                assert sum(self.refunds.values()) <= self.cents, "more is refunded than was captured"
                return pay.PaymentRefunded(**command.model_dump())
            case pay.RefundPayment(), state:
                return pay.PaymentRefundRefused(order_id=id, refund_id=command.refund_id, reason=state)
        match command, self.state:
            case pay.VoidPayment(), _:
                return pay.PaymentVoided(order_id=id)
            case _, "captured":
                return pay.PaymentCaptured(order_id=id, amount_cents=self.cents, currency="EUR")
            case _, "authorized":
                return pay.PaymentAuthorized(order_id=id, amount_cents=self.cents, currency="EUR")
        return pay.PaymentDeclined(order_id=id, reason=self.state)

    def _refuses(self, refund_id: Any) -> bool:
        if refund_id not in self.refunds and refund_id not in self.refused and self.refusals > 0:
            self.refusals -= 1
            self.refused.add(refund_id)
        return refund_id in self.refused

    @property
    def kept(self) -> int:
        """The cents that the shop has."""
        return self.cents - sum(self.refunds.values()) if self.state == "captured" else 0


class CarrierModel:
    """The parcel of the order at the shipping service."""

    def __init__(self, takes: bool, loses: bool) -> None:
        self.takes, self.loses, self.state = takes, loses, "none"

    def execute(self, command: Any) -> Message | None:
        id = command.order_id
        match command, self.state:
            case ship.CreateShipment(), "none":
                self.state = "accepted" if self.takes else "rejected"
            case ship.CancelShipment(), "none" | "accepted":
                self.state = "cancelled"
        match command, self.state:
            case _, "dispatched" | "delivered" | "lost":
                return ship.ShipmentDispatched(order_id=id, tracking_code="T")
            case ship.CreateShipment(), "rejected" | "cancelled":
                return ship.ShipmentRejected(order_id=id, reason=self.state)
            case ship.CancelShipment(), _:
                return ship.ShipmentCancelled(order_id=id)
        return None

    def advance(self, id: Any) -> Message | None:
        match self.state:
            case "accepted":
                self.state = "dispatched"
                return ship.ShipmentDispatched(order_id=id, tracking_code="T")
            case "dispatched":
                self.state = "lost" if self.loses else "delivered"
                return (ship.ShipmentLost if self.loses else ship.ShipmentDelivered)(order_id=id)
        return None


class Simulation:
    """One order, the services around it, and the messages between them that are still on their way."""

    def __init__(self, launched: Launched, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
        self.launched, self.draw = launched, draw
        flags = [draw(st.sampled_from([True, True, True, False])) for _ in range(5)]
        self.stock = StockModel(flags[0])
        self.money = PaymentModel(flags[1], flags[2], refusals=draw(st.integers(0, 2)))
        self.carrier = CarrierModel(flags[3], not flags[4])
        self.commands: dict[str, list[Message]] = {"product": [], "payment": [], "shipping": []}
        self.answers: list[Message] = []
        self.delivered: list[Message] = []

    async def place(self) -> None:
        line = OrderLine(product_id=new_id(), product_version=1, name="Lamp", quantity=3, price_cents=500)
        async with self.launched.instance.database.work() as work:
            await work.begin()
            cart = work.add(Cart.new(id=new_id(), customer_id=new_id(), lines=[], changed_at=work.now))
            body = PlaceOrder(address_id=new_id(), payment_token="tok_visa")
            self.id = saga.place_order(work, cart, [line], 490, body).id
            self._take_commands(work)

    async def within(self, act: Callable[[Order, UnitOfWork[OrderSettings]], Any]) -> Order:
        """Act on the locked order in one transaction, and take the commands that it sends."""
        async with self.launched.instance.database.work() as work:
            (order,) = await work.lock(Order, id=[self.id])
            act(order, work)
            self._take_commands(work)
        return order

    async def _erase_customer(self) -> None:
        async with self.launched.instance.database.work() as work:
            (order,) = await work.lock(Order, id=[self.id])
            event = UserErased(user_id=order.customer_id, erasure_id=new_id())
            await load_rows(work, [(event, service.subscriptions.by_type[event.wire_type].needs)])
            handlers.erase_customer(event, work)

    def _take_commands(self, work: UnitOfWork[OrderSettings]) -> None:
        known = {it.wire_type: it for module in (stock, pay, ship) for it in vars(module).values() if _is_message(it)}
        for envelope in work.messages:
            owner, _, kind = envelope.topic.partition(".")
            if kind == "commands" and owner in self.commands:
                self.commands[owner].append(known[envelope.type].model_validate_json(envelope.body))

    def execute(self, owner: str) -> None:
        if self.commands[owner]:
            command = self.commands[owner].pop(0)
            participant: Any = {"product": self.stock, "payment": self.money, "shipping": self.carrier}[owner]
            if (answer := participant.execute(command)) is not None:
                self.answers.append(answer)

    def advance_parcel(self) -> None:
        if (report := self.carrier.advance(self.id)) is not None:
            self.answers.append(report)

    async def deliver(self, message: Message) -> None:
        self.delivered.append(message)
        if (subscription := saga.on.by_type.get(message.wire_type)) is not None:
            await self.within(lambda _, work: subscription.handler(message, work))

    async def run_round(self) -> None:
        """Every service executes a command, and all answers arrive in order."""
        for owner in self.commands:
            self.execute(owner)
        while self.answers:
            await self.deliver(self.answers.pop(0))
        self.advance_parcel()

    async def step(self) -> None:
        """Do one thing that may happen now, chosen by Hypothesis."""
        match self.draw(st.sampled_from(ACTIONS)):
            case "execute":
                self.execute(self.draw(st.sampled_from(sorted(self.commands))))
            case "answer" if self.answers:
                await self.deliver(self.answers.pop(self.draw(st.integers(0, len(self.answers) - 1))))
            case "advance_parcel":
                self.advance_parcel()
            case "repeat" if self.delivered:
                await self.deliver(self.draw(st.sampled_from(self.delivered)))
            case "cancel":
                await self.within(_cancel_if_possible)
            case "deadline":
                await self.within(_time_out)
            case "return":
                await self.within(self._return_goods)
            case "resume":
                await self.within(self._resume_if_stuck)
            case "erase":
                await self._erase_customer()

    def _return_goods(self, order: Order, work: UnitOfWork[OrderSettings]) -> None:
        """Announce the return of some pieces, if this is possible, and confirm that they have arrived."""
        line = stock.Line(product_id=order.lines[0]["product_id"], quantity=self.draw(st.integers(1, 3)))
        with suppress(OrderNotDelivered, ReturnExceedsOrder):
            refunds.receive_return(order, refunds.announce_return(order, [line], work).id, work)

    def _resume_if_stuck(self, order: Order, work: UnitOfWork[OrderSettings]) -> None:
        if order.attention is not None:
            write_off = order.attention == "capture_refused" and self.draw(st.booleans())
            saga.resume_order(order, work, write_off)

    async def end(self) -> Order:
        """Let every service finish, deadlines pass and staff resume the order, until it has ended."""
        for _ in range(40):
            for owner in self.commands:
                while self.commands[owner]:
                    self.execute(owner)
            while self.answers:
                await self.deliver(self.answers.pop(0))
            if not any(self.commands.values()):
                self.advance_parcel()
            order = await self.within(self._resume_if_stuck)
            done = order.status in FINAL and not refunds.refunds_in_state(order, RefundState.REQUESTED)
            if done and not any(self.commands.values()) and not self.answers and self.carrier.state != "dispatched":
                return order
            if not any(self.commands.values()) and not self.answers:
                await self.within(_time_out)
        raise AssertionError(f"the order stays {order.status} {order.stock} {order.payment} {order.shipment}")

    async def check(self, order: Order) -> None:
        async with self.launched.instance.database.work() as work:
            steps = await steps_of_order(work, self.id)
        path = [None, *(step.status for step in steps)]
        assert set(pairwise(path)) <= MOVES, path
        assert [step.version for step in steps] == list(range(1, order.version + 1))
        back = sum(refund["amount_cents"] for refund in refunds.refunds_in_state(order, RefundState.REFUNDED))
        assert order.refunded_cents == back == sum(self.money.refunds.values())
        assert self.stock.hold != "reserved"
        match order.status:
            case "cancelled":
                assert self.stock.hold in ("released", "rejected")
                assert self.money.state in ("none", "declined", "voided")
                assert self.carrier.state in ("none", "rejected", "cancelled")
            case "delivered":
                assert (self.stock.hold, self.carrier.state) == ("committed", "delivered")
                if order.payment == "voided":  # written off
                    assert (self.money.kept, order.refunded_cents) == (0, 0)
                else:
                    assert self.money.kept == order.total_cents - order.refunded_cents > 0
                assert self.stock.restocked == sum(line["quantity"] for it in order.refunds for line in it["lines"])
            case "refunded":
                assert self.stock.hold == "committed"
                assert self.money.kept == 0
                assert self.carrier.state == "lost" or self.stock.restocked == 3


def _is_message(it: object) -> bool:
    return isinstance(it, type) and issubclass(it, Message)


def _cancel_if_possible(order: Order, work: UnitOfWork[OrderSettings]) -> None:
    try:
        saga.cancel_order(order, work)
    except OrderAlreadyShipped:
        assert order.status not in ("placed", "reserved", "confirmed", "withdrawing", "cancelling", "cancelled")


def _time_out(order: Order, work: UnitOfWork[OrderSettings]) -> None:
    if order.deadline is not None:
        saga.time_out_order(order, work)


@pytest.fixture
async def order(launch: Launch) -> Launched:
    """One running service for all examples of the test; each example has an order of its own."""
    return await launch(service)


@settings(
    max_examples=100,
    deadline=None,
    # An example makes dozens of transactions while it draws, and the service may be shared, see `order`.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
async def test_any_interleaving_ends_well(order: Launched, data: st.DataObject) -> None:
    simulation = Simulation(order, data.draw)
    await simulation.place()
    for _ in range(data.draw(st.integers(0, 8))):  # rounds without trouble, so that some examples get far
        await simulation.run_round()
    for _ in range(data.draw(st.integers(0, 40))):
        await simulation.step()
    ended = await simulation.end()
    event(f"{ended.status}, {ended.reason}")  # `--hypothesis-show-statistics` counts them
    await simulation.check(ended)
