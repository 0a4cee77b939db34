"""Browse: search, look at products, read one's orders."""

import random

from loadtests.journeys.shopper import Shopper

WORDS = ["lamp", "oak", "linen", "teapot", "rug", "desk", "glass", "wool"]


def browse(shopper: Shopper) -> None:
    shopper.send("GET", "/categories")
    shopper.send("GET", f"/products?q={random.choice(WORDS)}&limit=20", name="/products?q=")
    for _ in range(random.randint(1, 5)):
        product_id = shopper.popular_product()
        shopper.send("GET", f"/products/{product_id}", name="/products/{product_id}", refusals=("product_not_found",))
    shopper.send("GET", "/orders?limit=10", name="/orders")
