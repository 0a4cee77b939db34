"""User: accounts and roles, sign-in and tokens, addresses, and the erasure of all of them."""

from chassis.database import Schema
from chassis.service import Service
from contracts import user as contract
from user import due, handlers
from user.config import UserSettings
from user.routes import accounts, erasures, passwords, sessions

service = Service(
    contract.api,
    routers=[accounts.router, sessions.router, passwords.router, erasures.router],
    subscriptions=handlers.on,
    deadlines=due.deadlines,
    settings=UserSettings,
    schema=Schema.of("user"),
)
