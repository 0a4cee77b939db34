"""Shipping: sends parcels through a carrier, stops them before they leave, and reports where they are."""

from chassis.service import Service
from contracts import shipping as contract
from contracts import user
from shipping import handlers, hooks, models, routes
from shipping.config import ShippingSettings

service = Service(
    contract.api,
    routers=[routes.router, hooks.router],
    subscriptions=handlers.on,
    due=handlers.due,
    calls=[user.api],
    settings=ShippingSettings,
    models=models,
    hooks="/hooks",
)
