"""HTTP in: routes whose request is one transaction, what they can ask for, pages of lists, and problem details.

Services declare routers from here and write plain functions. Middleware, error mapping and idempotency come with the
application that the process builds.
"""

from chassis.web.dependencies import (
    IDEMPOTENCY_KEY,
    Caller,
    IdempotencyKey,
    Operator,
    Runtime,
    ServiceCaller,
    Staff,
    Work,
)
from chassis.web.pagination import Cursor, InvalidCursor, Limit, Page, decode_cursor, page
from chassis.web.problems import raises, response_header
from chassis.web.transactions import Router
from chassis.web.webhooks import SignatureRefused, verify_webhook

__all__ = [
    "IDEMPOTENCY_KEY",
    "Caller",
    "Cursor",
    "IdempotencyKey",
    "InvalidCursor",
    "Limit",
    "Operator",
    "Page",
    "Router",
    "Runtime",
    "ServiceCaller",
    "SignatureRefused",
    "Staff",
    "Work",
    "decode_cursor",
    "page",
    "raises",
    "response_header",
    "verify_webhook",
]
