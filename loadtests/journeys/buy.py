"""Buy: fill the cart, ask for a quote, check out, and wait for the confirmation."""

import random
import time
from uuid import uuid4

from loadtests.journeys.shopper import NOT_SOLD, TRY_AGAIN, Shopper, Unanswered

CARDS = {"tok_visa": 9, "tok_declined": 1}


def buy(shopper: Shopper) -> None:
    in_cart = [shopper.put_in_cart(shopper.popular_product(), random.randint(1, 2)) for _ in range(2)]
    if not any(in_cart):
        return
    body = {"address_id": shopper.account.address_id}
    if shopper.send("POST", "/quotes", body, refusals=(*NOT_SOLD, *TRY_AGAIN)).outcome == "ack":
        (card,) = random.choices([*CARDS], [*CARDS.values()])
        place_order(shopper, card)


def place_order(shopper: Shopper, card: str = "tok_visa") -> str | None:
    """Check out, and wait for the confirmation. The id of the order; None when it was refused."""
    began = time.time()
    order_id = shopper.check_out_until_answered(str(uuid4()), card)
    if order_id is None:
        return None
    shopper.record("accepted", began, "ack", order_id=order_id)
    return order_id if follow(shopper, order_id) else None


def follow(shopper: Shopper, order_id: str) -> bool:
    """Wait until the order is confirmed or cancelled. Whether it is confirmed."""
    accepted = time.time()
    try:
        order = shopper.wait_for_order(order_id, "confirmed", "shipped", "delivered")
    except Unanswered:
        shopper.record("confirmed", accepted, "unknown", order_id=order_id)
        raise
    fact = "cancelled" if order["status"] == "cancelled" else "confirmed"
    shopper.record(fact, accepted, "ack", order_id=order_id, reason=order["reason"])
    return fact == "confirmed"
