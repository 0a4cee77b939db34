"""Aggregator: the public API of the shop, from read models, a cache, and calls to the services below."""

from aggregator import (
    account,
    aftersales,
    catalogue,
    checkout,
    dashboard,
    handlers,
    models,
    order_notifications,
    orders,
    preferences,
    rebuild,
    sessions,
    streams,
)
from aggregator.config import AggregatorSettings
from chassis.database import Schema
from chassis.service import Service
from contracts import aggregator as contract
from contracts import notification, order, product, user

PUBLIC = (catalogue, account, sessions, preferences, checkout, orders, aftersales, streams, dashboard)

service = Service(
    contract.api,
    routers=[*(it.router for it in PUBLIC), rebuild.router],
    subscriptions=handlers.on,
    deadlines=rebuild.deadlines,
    calls=[user.api, product.api, order.api, notification.api],
    settings=AggregatorSettings,
    schema=Schema.of("aggregator"),
    public="/api/v1",
    after_commit={models.OrderReadModel: order_notifications.publish_changes},
)
