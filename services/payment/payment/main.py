"""Payment: holds, takes and gives back money through a payment provider, and keeps books of it."""

from chassis.service import Service
from contracts import payment as contract
from payment import handlers, hooks, models, routes, tasks
from payment.config import PaymentSettings

service = Service(
    contract.api,
    routers=[routes.router, hooks.router],
    subscriptions=handlers.on,
    deadlines=handlers.deadlines,
    tasks=tasks.tasks,
    settings=PaymentSettings,
    models=models,
    hooks="/hooks",
)
