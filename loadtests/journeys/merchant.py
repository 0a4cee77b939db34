"""Merchant: change prices while people buy, and put a new product on sale."""

import random
from uuid import uuid4

from loadtests.journeys.shopper import Shopper

PIECES = 50


def merchant(shopper: Shopper) -> None:
    for _ in range(3):
        body, path = {"price_cents": random.randint(100, 99_999)}, f"/product/products/{shopper.popular_product()}"
        shopper.send_as_staff("PATCH", path, body, name="/product/products/{product_id}")
    new = {"id": str(uuid4()), "name": "Novelty", "description": "", "category": "Novelties", "price_cents": 990}
    products = [{**new, "currency": "EUR", "on_hand": PIECES, "weight_grams": 500}]
    shopper.send_as_staff("POST", "/product/products", products, name="/product/products")
