"""User: accounts and roles, sign-in and tokens, addresses."""

from chassis.service import Service
from contracts import user as contract
from user import due, models, routes
from user.config import UserSettings

service = Service(contract.api, routers=[routes.router], due=due.due, settings=UserSettings, models=models)
