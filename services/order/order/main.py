"""Order: keeps carts, and takes an order from checkout to delivered or cancelled."""

from chassis.service import Service
from contracts import product, user
from contracts.order import api
from order import models, routes, saga
from order.config import OrderSettings

service = Service(
    api,
    routers=[routes.router],
    subscriptions=saga.on,
    due=saga.due,
    calls=[product.api, user.api],
    settings=OrderSettings,
    models=models,
)
