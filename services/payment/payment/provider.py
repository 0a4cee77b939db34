"""The adapter of the payment provider: an attempt becomes an HTTP request, its answer an outcome, or stays unknown."""

import logging
from typing import Literal, cast

import httpx
from pydantic import BaseModel, ValidationError

from chassis.service import Runtime
from payment.config import PaymentSettings
from payment.models import Attempt, AttemptKind

logger = logging.getLogger(__name__)


class Outcome(BaseModel):
    """The payment at the provider after the request."""

    id: str | None
    status: Literal["authorized", "declined", "captured", "voided", "refunded"]
    reason: str | None


async def ask(attempt: Attempt, runtime: Runtime) -> Outcome | None:
    """Make the request of an attempt, safe to repeat. None: the outcome is unknown, the money may have moved or not."""
    settings = cast(PaymentSettings, runtime.settings)
    try:
        answer = await runtime.http.post(
            f"{settings.provider_url}{_path(attempt)}",
            json=_body(attempt),
            headers={"Idempotency-Key": str(attempt.id)},
            timeout=settings.provider_timeout_seconds,
        )
        if answer.status_code == 422 and attempt.kind == AttemptKind.AUTHORIZE:
            return Outcome(id=None, status="declined", reason="not_accepted")
        answer.raise_for_status()
        return Outcome.model_validate_json(answer.content)
    except (httpx.HTTPError, ValidationError) as error:
        logger.warning(
            "the outcome of a payment attempt is unknown, it will be asked for again",
            extra={
                "order_id": str(attempt.order_id),
                "kind": attempt.kind,
                "tries": attempt.tries,
                "error": repr(error),
            },
        )
        return None


def _path(attempt: Attempt) -> str:
    return "/payments" if attempt.provider_id is None else f"/payments/{attempt.provider_id}/{attempt.kind}"


def _body(attempt: Attempt) -> dict[str, object] | None:
    if attempt.kind != AttemptKind.AUTHORIZE:
        return None
    return {
        "reference": str(attempt.order_id),
        "amount_cents": attempt.amount_cents,
        "currency": attempt.currency,
        "token": attempt.payment_token,
    }
