"""`demo`: three orders through the running system (confirmed, declined, sold out), step by step, with the totals."""

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

import typer
from rich.console import Console
from rich.table import Table

from chassis.messaging.message import Message
from cli._system import Gateway, internal, public
from cli.seed import seed
from contracts import order, payment, product, shipping
from local.trouble import Trouble

app = typer.Typer()
console = Console()
ENDED = ("delivered", "cancelled")
MOST_SECONDS = 60


@dataclass
class Customer:
    """Somebody with an account, an address and a card."""

    api: Gateway
    address_id: str

    @classmethod
    def registered(cls) -> "Customer":
        account = {"email": f"demo-{uuid4().hex[:12]}@example.com", "password": uuid4().hex, "name": "Ada Demo"}
        public().call("POST", "/accounts", json=account)
        credentials = {name: account[name] for name in ("email", "password")}
        tokens = public().call("POST", "/tokens", json={"grant_type": "password", **credentials})
        api = public(tokens["access_token"])
        address = {
            "name": "Ada Demo",
            "street": "1 Example Street",
            "postcode": "10115",
            "city": "Berlin",
            "country": "DE",
        }
        console.print(f"registered [b]{account['email']}[/b]")
        return cls(api, api.call("POST", "/me/addresses", json=address)["id"])

    def buy(self, product_id: str, quantity: int, card: str) -> Any:
        """Fill the cart and check out. The order as accepted."""
        self.api.call("PUT", f"/cart/lines/{product_id}", json={"quantity": quantity})
        body = {"address_id": self.address_id, "payment_token": card}
        return self.api.call("POST", "/checkouts", json=body, headers={"Idempotency-Key": str(uuid4())})


@app.command()
def demo() -> None:
    """Watch orders travel through the running system, and see that no stock and no money is lost."""
    if not public().call("GET", "/products", params={"limit": 1})["items"]:
        seed()
    staff = internal()
    customer, before = Customer.registered(), _steady_totals(staff)
    chosen = _some_product(staff)
    bought = customer.buy(chosen["id"], 2, "tok_visa")
    _follow(staff, bought, f"two of {chosen['name']}, a good card", "delivered")
    _follow(staff, customer.buy(chosen["id"], 1, "tok_declined"), "a card that is declined", "cancelled")
    (stock,) = staff.call("GET", "/product/stock", params={"ids": chosen["id"]})
    too_many = stock["on_hand"] - stock["reserved"] + 1
    _follow(staff, customer.buy(chosen["id"], too_many, "tok_visa"), f"{too_many} pieces, one too many", "cancelled")
    _compare(before, _settled_totals(staff, before, bought), bought)


def _some_product(staff: Gateway) -> Any:
    """One whose stock a single order can exceed."""
    found = public().call("GET", "/products", params={"limit": 100})["items"]
    stocks = staff.call("GET", "/product/stock", params={"ids": ",".join(it["id"] for it in found)})
    for stock in stocks:
        if 10 <= stock["on_hand"] - stock["reserved"] < 1_000:
            return next(it for it in found if it["id"] == stock["product_id"])
    raise Trouble("no product has between 10 and 999 pieces in stock: `seed` brings some")


def _follow(staff: Gateway, placed: Any, title: str, expected: str) -> None:
    """Print each step as it happens, with the message that caused it and the milliseconds since the checkout."""
    console.print(f"\n[b]{title}[/b]  order {placed['order_id']}", soft_wrap=True)
    path, shown, started = f"/order/orders/{placed['order_id']}/history", 0, None
    until = time.monotonic() + MOST_SECONDS
    while time.monotonic() < until:
        for step in staff.call("GET", path)[shown:]:
            at = _seconds(step["at"])
            started, shown = started or at, shown + 1
            owner = OWNERS.get(step["cause"], "order")
            reason = f"  ({step['reason']})" if step["reason"] else ""
            console.print(f"{(at - started) * 1000:8.0f} ms  {owner:<9} {step['cause']:<20} → {step['status']}{reason}")
            if step["status"] in ENDED:
                if step["status"] != expected:
                    raise Trouble(f"the order ended {step['status']}, and {expected} was expected")
                return
        time.sleep(0.05)
    raise Trouble(f"the order has not ended after {MOST_SECONDS} s: look at its history at {path}")


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def _owners() -> dict[str, str]:
    """Which service announces or obeys a message, by the message's name."""
    modules = (order, payment, product, shipping)
    return {
        name: it.topic.partition(".")[0]
        for module in modules
        for name, it in vars(module).items()
        if isinstance(it, type) and issubclass(it, Message) and it.topic
    }


OWNERS = _owners()


def _totals(staff: Gateway) -> dict[str, int]:
    """Pieces and cents, over everything there is."""
    stock, money = staff.call("GET", "/product/totals"), staff.call("GET", "/payment/totals")
    return {f"stock {name}": pieces for name, pieces in stock.items()} | {
        f"money {name}": it for name, it in money.items()
    }


def _steady_totals(staff: Gateway) -> dict[str, int]:
    """The totals once nobody fills the shelves any more, as the first run does."""
    before = None
    while (now := _totals(staff)) != before:
        before = now
        time.sleep(0.5)
    return now


def _settled_totals(staff: Gateway, before: dict[str, int], bought: Any) -> dict[str, int]:
    """The totals once the capture of the sold goods is through; the parcel may be faster than the bank."""
    until = time.monotonic() + MOST_SECONDS
    while True:
        now = _totals(staff)
        captured = now["money captured_cents"] - before["money captured_cents"]
        if captured >= bought["total_cents"] or time.monotonic() > until:
            return now
        time.sleep(0.1)


def _compare(before: dict[str, int], after: dict[str, int], bought: Any) -> None:
    """Everything is where it was, but for what was sold."""
    table = Table("total", "before", "after", "change")
    for name, was in before.items():
        table.add_row(name, str(was), str(after[name]), f"{after[name] - was:+d}")
    console.print()
    console.print(table)
    change = {name: after[name] - was for name, was in before.items()}
    pieces = sum(line["quantity"] for line in bought["lines"])
    expected = {
        "stock on_hand": -pieces,
        "stock reserved": 0,
        "stock committed": pieces,
        "money authorized_cents": 0,
        "money captured_cents": bought["total_cents"],
    }
    wrong = [name for name, it in expected.items() if change[name] != it]
    if wrong:
        raise Trouble(f"these totals do not balance: {', '.join(wrong)} (does somebody else buy at the same time?)")
    console.print(f"No stock and no money lost: {pieces} pieces sold for {bought['total_cents']} cents.")
