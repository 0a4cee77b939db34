"""Aggregator: the public API of the shop, from read models, a cache and the services below."""

from aggregator import delegates, handlers, models, openapi, routes
from aggregator.config import AggregatorSettings
from chassis.service import Service
from contracts import aggregator as contract
from contracts import order, product, user

service = Service(
    contract.api,
    routers=[routes.router, delegates.router, openapi.router],
    subscriptions=handlers.on,
    calls=[user.api, product.api, order.api],
    settings=AggregatorSettings,
    models=models,
)
