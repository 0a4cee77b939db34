"""Shipping: sends parcels through a carrier, stops them before they leave, and reports where they are."""

from chassis.database import Schema
from chassis.service import Service
from contracts import shipping as contract
from contracts import user
from shipping import handlers, hooks, routes
from shipping.config import ShippingSettings

service = Service(
    contract.api,
    routers=[routes.router, hooks.router],
    subscriptions=handlers.on,
    deadlines=handlers.deadlines,
    calls=[user.api],
    settings=ShippingSettings,
    schema=Schema.of("shipping"),
    hooks="/hooks",
)
