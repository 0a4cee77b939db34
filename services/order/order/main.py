"""Order: keeps carts, and takes an order from checkout to its end, also back again."""

from chassis.service import Service
from contracts import product, shipping, user
from contracts.order import api
from order import checkout, handlers, models, routes
from order.config import OrderSettings

service = Service(
    api,
    routers=[checkout.router, routes.router],
    subscriptions=handlers.on,
    deadlines=handlers.deadlines,
    calls=[product.api, shipping.api, user.api],
    settings=OrderSettings,
    models=models,
)
