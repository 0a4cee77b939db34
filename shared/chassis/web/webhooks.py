"""Signed webhooks of other companies: nothing in a webhook is believed before its signature is verified.

Source: Standard Webhooks 1.0.0.
"""

from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from standardwebhooks import Webhook, WebhookVerificationError

from chassis.errors import InvalidInput, Problem

N = TypeVar("N", bound=BaseModel)


class SignatureRefused(Problem):
    """The signature of a webhook is wrong or too old. Check the secret and the clock, and sign again."""

    status, code, detail = 401, "signature_refused", "The webhook's signature is wrong or too old."


async def verify_webhook(request: Request, secret: str, into: type[N]) -> N:
    """Return the body if it is signed with this secret (base64). Raises SignatureRefused or InvalidInput.

    The signature covers id, timestamp and raw body. A timestamp that is five minutes off is refused, against replays.
    """
    body = await request.body()
    try:
        Webhook(secret).verify(body, dict(request.headers), json_parse=False)
    except (WebhookVerificationError, ValueError):
        raise SignatureRefused() from None
    try:
        return into.model_validate_json(body)
    except ValidationError:
        raise InvalidInput("The webhook is signed, but its body is not valid.") from None
