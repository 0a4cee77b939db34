"""The ledger: a service for tests of the chassis."""

from chassis.database import Schema
from chassis.service import Service
from ledger import handlers, routes
from ledger.messages import api, peer

service = Service(
    api,
    routers=[routes.router, routes.streams],
    subscriptions=handlers.on,
    deadlines=handlers.deadlines,
    calls=[peer],
    schema=Schema.of("ledger"),
)
