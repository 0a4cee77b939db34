"""Aggregator: the public API of the shop, from read models, a cache and the services below."""

from aggregator import handlers, models, news, openapi, rebuild
from aggregator.config import AggregatorSettings
from chassis.database import Schema
from chassis.service import Service
from contracts import aggregator as contract
from contracts import notification, order, product, user

service = Service(
    contract.api,
    routers=[*openapi.PUBLIC, openapi.router, rebuild.router],
    subscriptions=handlers.on,
    deadlines=rebuild.deadlines,
    calls=[user.api, product.api, order.api, notification.api],
    settings=AggregatorSettings,
    schema=Schema.of("aggregator"),
    after_commit={models.Order: news.tell},
)
