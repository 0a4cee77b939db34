"""Payment: holds, takes and gives back money through a payment provider, and remembers every attempt."""

from chassis.service import Service
from contracts import payment as contract
from payment import handlers, models, routes
from payment.config import PaymentSettings

service = Service(
    contract.api,
    routers=[routes.router],
    subscriptions=handlers.on,
    due=handlers.due,
    settings=PaymentSettings,
    models=models,
)
