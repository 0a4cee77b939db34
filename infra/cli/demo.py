"""`demo`: places orders in the running system, follows each step, and compares the totals before and after."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

import typer
from rich.console import Console
from rich.table import Table

from chassis.message import Message
from cli._system import GatewayClient, internal_gateway, public_gateway
from cli.seed import seed
from contracts import order, payment, product, shipping
from local.errors import CommandError

app = typer.Typer()
console = Console()
PATIENCE_SECONDS = 60
LOST = "99599"  # the carrier loses every parcel to this postcode


@dataclass
class DemoCustomer:
    """A customer with an account and two addresses."""

    api: GatewayClient
    address_ids: dict[str, str]  # by postcode

    @classmethod
    def register(cls) -> "DemoCustomer":
        account = {"email": f"demo-{uuid4().hex[:12]}@example.com", "password": uuid4().hex, "name": "Ada Demo"}
        public_gateway().call("POST", "/accounts", json=account)
        credentials = {name: account[name] for name in ("email", "password")}
        tokens = public_gateway().call("POST", "/tokens", json={"grant_type": "password", **credentials})
        api = public_gateway(tokens["access_token"])
        console.print(f"registered [b]{account['email']}[/b]")
        home = {"name": "Ada Demo", "street": "1 Example Street", "city": "Berlin", "country": "DE"}
        places = [api.call("POST", "/me/addresses", json={**home, "postcode": code}) for code in ("10115", LOST)]
        return cls(api, {it["postcode"]: it["id"] for it in places})

    def buy(self, product_id: str, quantity: int, card: str = "tok_visa", postcode: str = "10115") -> Any:
        """Fill the cart and check out. Returns the accepted order."""
        self.api.call("PUT", f"/cart/lines/{product_id}", json={"quantity": quantity})
        body = {"address_id": self.address_ids[postcode], "payment_token": card}
        return self.api.call("POST", "/checkouts", json=body, headers=_idempotency_key())

    def cancel(self, order_id: str) -> None:
        self.api.call("POST", f"/orders/{order_id}/cancellation")

    def send_back(self, order_id: str, product_id: str, quantity: int) -> Any:
        """Announce a return. Returns the announced return."""
        lines = [{"product_id": product_id, "quantity": quantity}]
        return self.api.call("POST", f"/orders/{order_id}/returns", json={"lines": lines}, headers=_idempotency_key())


def _idempotency_key() -> dict[str, str]:
    return {"Idempotency-Key": str(uuid4())}


@app.command()
def demo() -> None:
    """Place orders in the running system, watch each step, and check that no stock and no money is lost."""
    if not public_gateway().call("GET", "/products", params={"limit": 1})["items"]:
        seed()
    staff = internal_gateway()
    customer, before = DemoCustomer.register(), _wait_for_steady_totals(staff)
    chosen = _choose_product(staff)
    bought = customer.buy(chosen["id"], 2)
    _follow_order(staff, bought, f"two of {chosen['name']}, a good card", "delivered")
    back = customer.send_back(bought["order_id"], chosen["id"], 1)
    _receive_return(staff, bought, back)
    lost = customer.buy(chosen["id"], 1, postcode=LOST)
    _follow_order(staff, lost, "the carrier loses the parcel", "refunded")
    _follow_order(staff, customer.buy(chosen["id"], 1, "tok_declined"), "a card that is declined", "cancelled")
    regretted = customer.buy(chosen["id"], 1)
    customer.cancel(regretted["order_id"])
    _follow_order(staff, regretted, "the customer cancels", "cancelled")
    (stock,) = staff.call("GET", "/product/stock", params={"ids": chosen["id"]})["items"]
    too_many = stock["on_hand"] - stock["reserved"] + 1
    _follow_order(staff, customer.buy(chosen["id"], too_many), f"{too_many} pieces, one too many", "cancelled")
    expected = {
        "stock on_hand": -2,  # one of the two came back, one is lost
        "stock reserved": 0,
        "stock committed": 3,
        "stock returned": 1,
        "money authorized_cents": 0,
        "money captured_cents": bought["total_cents"] - back["amount_cents"],
        "money refunded_cents": lost["total_cents"] + back["amount_cents"],
    }
    _compare_totals(before, _wait_for_expected_totals(staff, before, expected), expected)


def _choose_product(staff: GatewayClient) -> Any:
    """A product whose stock a single order can exceed."""
    found = public_gateway().call("GET", "/products", params={"limit": 100})["items"]
    stocks = staff.call("GET", "/product/stock", params={"ids": ",".join(it["id"] for it in found)})
    for stock in stocks["items"]:
        if 10 <= stock["on_hand"] - stock["reserved"] < 1_000:
            return next(it for it in found if it["id"] == stock["product_id"])
    raise CommandError("no product has between 10 and 999 pieces in stock: run `seed` first")


def _follow_order(staff: GatewayClient, placed: Any, title: str, expected: str) -> None:
    """Print each step as it happens, with the message that caused it and the milliseconds since the checkout."""
    console.print(f"\n[b]{title}[/b]  order {placed['order_id']}", soft_wrap=True)
    for step in _steps(staff, placed, 0):
        if step["status"] == expected:
            return
        if step["status"] in ("cancelled", "delivered", "refunded"):
            raise CommandError(f"the order ended {step['status']}, and {expected} was expected")


def _receive_return(staff: GatewayClient, bought: Any, back: Any) -> None:
    """The goods of a return arrive, and their price is refunded."""
    console.print(f"\n[b]one comes back[/b]  refund {back['id']} of {back['amount_cents']} cents", soft_wrap=True)
    shown = len(staff.call("GET", f"/order/orders/{bought['order_id']}/history"))
    staff.call("POST", f"/order/orders/{bought['order_id']}/returns/{back['id']}/receipt")
    next(_steps(staff, bought, shown))


def _steps(staff: GatewayClient, placed: Any, shown: int) -> Iterator[Any]:
    """The steps of an order as they happen, without the first `shown` ones."""
    path, started = f"/order/orders/{placed['order_id']}/history", _seconds(placed["placed_at"])
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        for step in staff.call("GET", path)[shown:]:
            shown += 1
            owner = OWNERS.get(step["cause"], "order")
            reason = f"  ({step['reason']})" if step["reason"] else ""
            milliseconds = (_seconds(step["at"]) - started) * 1000
            console.print(f"{milliseconds:8.0f} ms  {owner:<9} {step['cause']:<20} → {step['status']}{reason}")
            yield step
        time.sleep(0.05)
    raise CommandError(f"the order has not moved for {PATIENCE_SECONDS} s: see its history at {path}")


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def _owners() -> dict[str, str]:
    """The service that owns each message, by the message's name."""
    modules = (order, payment, product, shipping)
    return {
        name: it.topic.partition(".")[0]
        for module in modules
        for name, it in vars(module).items()
        if isinstance(it, type) and issubclass(it, Message) and it.topic
    }


OWNERS = _owners()


def _totals(staff: GatewayClient) -> dict[str, int]:
    """The sums over all products and payments, in pieces and cents."""
    stock, money = staff.call("GET", "/product/totals"), staff.call("GET", "/payment/totals")
    return {f"stock {name}": pieces for name, pieces in stock.items()} | {
        f"money {name}": it for name, it in money.items()
    }


def _wait_for_steady_totals(staff: GatewayClient) -> dict[str, int]:
    """The totals once they no longer change: the first run seeds products at the same time."""
    before = None
    while (now := _totals(staff)) != before:
        before = now
        time.sleep(0.5)
    return now


def _wait_for_expected_totals(staff: GatewayClient, before: dict[str, int], expected: dict[str, int]) -> dict[str, int]:
    """The totals once the last messages are handled: a parcel may arrive before its payment is captured."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        now = _totals(staff)
        if all(now[name] - before[name] == it for name, it in expected.items()) or time.monotonic() > until:
            return now
        time.sleep(0.1)


def _compare_totals(before: dict[str, int], after: dict[str, int], expected: dict[str, int]) -> None:
    """Print the totals, and raise unless they changed exactly by what was sold and not returned."""
    table = Table("total", "before", "after", "change")
    for name, was in before.items():
        table.add_row(name, str(was), str(after[name]), f"{after[name] - was:+d}")
    console.print()
    console.print(table)
    wrong = [name for name, it in expected.items() if after[name] - before[name] != it]
    if wrong:
        raise CommandError(
            f"these totals do not balance: {', '.join(wrong)} (do other customers buy at the same time?)"
        )
    console.print(f"No stock and no money lost: {expected['money captured_cents']} cents for the goods that were kept.")
