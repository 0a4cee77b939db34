"""Product: what is sold, for how much, and how many pieces are there; holds them for orders."""

from chassis.service import Service
from contracts import product as contract
from product import handlers, models, routes

service = Service(contract.api, routers=[routes.router], subscriptions=handlers.on, models=models)
