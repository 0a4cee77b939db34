"""Aggregator: the public API of the shop, from read models, a cache, and calls to the services below."""

from aggregator import handlers, models, openapi, order_notifications, rebuild
from aggregator.config import AggregatorSettings
from chassis.service import Service
from contracts import aggregator as contract
from contracts import notification, order, product, user

service = Service(
    contract.api,
    routers=[*openapi.PUBLIC, openapi.router, rebuild.router],
    subscriptions=handlers.on,
    due=rebuild.due,
    calls=[user.api, product.api, order.api, notification.api],
    settings=AggregatorSettings,
    models=models,
    after_commit={models.OrderReadModel: order_notifications.publish_changes},
)
