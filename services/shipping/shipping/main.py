"""Shipping: sends parcels through a carrier, stops them while it can, and says when they left, arrived or got lost."""

from chassis.service import Service
from contracts import shipping as contract
from contracts import user
from shipping import handlers, hooks, models, routes
from shipping.config import ShippingSettings

service = Service(
    contract.api,
    routers=[routes.router, hooks.router],
    subscriptions=handlers.on,
    deadlines=handlers.deadlines,
    calls=[user.api],
    settings=ShippingSettings,
    models=models,
    hooks="/hooks",
)
