"""Product: what is sold, at which price, and how many pieces there are; reserves pieces for orders."""

from chassis.database import Schema
from chassis.service import Service
from contracts import product as contract
from product import handlers
from product.config import ProductSettings
from product.routes import catalogue, stock

service = Service(
    contract.api,
    routers=[catalogue.router, stock.router],
    subscriptions=handlers.on,
    settings=ProductSettings,
    schema=Schema.of("product"),
)
