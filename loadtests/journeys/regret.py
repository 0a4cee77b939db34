"""Regret: buy, and then cancel the order, or send the goods back once they have arrived."""

import random
from uuid import uuid4

from loadtests.journeys.buy import place_order
from loadtests.journeys.shopper import TRY_AGAIN, Shopper

TOO_LATE = ("order_already_shipped", *TRY_AGAIN)


def regret(shopper: Shopper) -> None:
    if not shopper.put_in_cart(shopper.popular_product(), 2):
        return
    if random.random() < 0.5:
        order_id = shopper.check_out_until_answered(str(uuid4()))
        if order_id is not None:
            path, name = f"/orders/{order_id}/cancellation", "/orders/{order_id}/cancellation"
            shopper.send("POST", path, name=name, refusals=TOO_LATE)
        return
    order_id = place_order(shopper)
    if order_id is None:
        return
    order = shopper.wait_for_order(order_id, "delivered")
    if order["status"] == "delivered":
        lines = [{"product_id": line["product_id"], "quantity": 1} for line in order["lines"]]
        path, name = f"/orders/{order_id}/returns", "/orders/{order_id}/returns"
        returned = shopper.send("POST", path, {"lines": lines}, name=name, key=str(uuid4()), refusals=TRY_AGAIN)
        if returned.outcome == "ack":
            path, name = f"/order{path}/{returned.body['id']}/receipt", "/orders/{order_id}/returns/{id}/receipt"
            shopper.send_as_staff("POST", path, None, name=name)
