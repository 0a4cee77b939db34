"""Order: keeps carts, and takes each order from checkout to delivery, cancellation or refund."""

from chassis.database import Schema
from chassis.service import Service
from contracts import product, shipping, user
from contracts.order import api
from order import checkout, handlers, routes
from order.config import OrderSettings

service = Service(
    api,
    routers=[checkout.router, routes.router],
    subscriptions=handlers.on,
    deadlines=handlers.deadlines,
    calls=[product.api, shipping.api, user.api],
    settings=OrderSettings,
    schema=Schema.of("order"),
)
