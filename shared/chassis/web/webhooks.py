"""What strangers tell us unasked: nothing of a webhook is believed before its signature. Standard Webhooks 1.0.0."""

from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from standardwebhooks import Webhook, WebhookVerificationError

from chassis.errors import InvalidInput, Problem

N = TypeVar("N", bound=BaseModel)


class SignatureRefused(Problem):
    status, code, detail = 401, "signature_refused", "The webhook is not signed by whom it should be, or is too old."


async def verify_webhook(request: Request, secret: str, into: type[N]) -> N:
    """The body, if it is signed with this secret (base64).

    The signature covers id, timestamp and raw body; a timestamp five minutes off is refused, against replays.
    """
    body = await request.body()
    try:
        Webhook(secret).verify(body, dict(request.headers), json_parse=False)
    except (WebhookVerificationError, ValueError):
        raise SignatureRefused() from None
    try:
        return into.model_validate_json(body)
    except ValidationError:
        raise InvalidInput("The webhook is signed, but cannot be read.") from None
