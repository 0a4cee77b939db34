"""Product: what is sold, for how much, and how many pieces are there; holds them for orders."""

from chassis.database import Schema
from chassis.service import Service
from contracts import product as contract
from product import handlers, routes
from product.config import ProductSettings

service = Service(
    contract.api,
    routers=[routes.router],
    subscriptions=handlers.on,
    settings=ProductSettings,
    schema=Schema.of("product"),
)
