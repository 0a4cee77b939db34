"""Notification: sends people one mail for each thing that happens to their account or order."""

from chassis.database import Schema
from chassis.service import Service
from contracts import notification as contract
from contracts import user
from notification import handlers, routes, tasks
from notification.config import NotificationSettings

service = Service(
    contract.api,
    routers=[routes.router],
    subscriptions=handlers.on,
    tasks=tasks.tasks,
    calls=[user.api],
    settings=NotificationSettings,
    schema=Schema.of("notification"),
)
