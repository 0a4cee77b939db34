"""Payment: authorizes, captures, voids and refunds through a payment provider, and keeps the books."""

from chassis.service import Service
from contracts import payment as contract
from payment import handlers, hooks, models, routes, tasks
from payment.config import PaymentSettings

service = Service(
    contract.api,
    routers=[routes.router, hooks.router],
    subscriptions=handlers.on,
    due=handlers.due,
    tasks=tasks.tasks,
    settings=PaymentSettings,
    models=models,
    hooks="/hooks",
)
