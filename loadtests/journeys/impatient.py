"""Impatient: click twice, or stop waiting for the answer and ask again with the same key."""

import random
import time
from contextlib import suppress
from uuid import uuid4

import gevent

from loadtests.journeys.buy import follow
from loadtests.journeys.shopper import Shopper, Unanswered


def impatient(shopper: Shopper) -> None:
    if not shopper.put_in_cart(shopper.popular_product()):
        return
    key, began, orders = str(uuid4()), time.time(), set()
    if random.random() < 0.5:
        click = gevent.spawn(shopper.check_out_until_answered, key)
        orders = {shopper.check_out_until_answered(key), click.get()}
    else:
        with suppress(Unanswered):  # there may be an order now: the next request finds out
            orders.add(shopper.check_out(key, hasty=True).order_id)
        orders.add(shopper.check_out_until_answered(key))
    shopper.record("one order per key", began, "ack" if len(orders) == 1 else "fail", order_ids=[*orders])
    order_id = orders.pop()
    if order_id is not None:
        follow(shopper, order_id)
