"""Flash sale: everybody wants one of a few products with almost no stock."""

import random

from loadtests.journeys.buy import place_order
from loadtests.journeys.shopper import Shopper


def flash_sale(shopper: Shopper) -> None:
    product_id = random.choice(shopper.world.sale)
    shopper.send("GET", f"/products/{product_id}", name="/products/{product_id}", refusals=("product_not_found",))
    if shopper.put_in_cart(product_id):
        place_order(shopper)
