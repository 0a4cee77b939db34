"""Payment: authorizes, captures, voids and refunds through a payment provider, and keeps the books."""

from chassis.database import Schema
from chassis.service import Service
from contracts import payment as contract
from payment import handlers, hooks, routes, tasks
from payment.config import PaymentSettings

service = Service(
    contract.api,
    routers=[routes.router, hooks.router],
    subscriptions=handlers.on,
    deadlines=handlers.deadlines,
    tasks=tasks.tasks,
    settings=PaymentSettings,
    schema=Schema.of("payment"),
    hooks="/hooks",
)
