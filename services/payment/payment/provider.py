"""The adapter of the payment provider: it turns an attempt into an HTTP request, and the answer into an outcome."""

import logging
import time
from typing import Any, Literal

import httpx
import stamina
from pydantic import BaseModel, TypeAdapter

from chassis.resilience import CallRejected, CircuitBreaker
from chassis.service import Runtime
from payment.config import PaymentSettings
from payment.models import Attempt, AttemptKind

logger = logging.getLogger(__name__)
IDEMPOTENCY_KEY_SECONDS = 20 * 3600  # the provider keeps keys for a day


class ProviderOutcome(BaseModel):
    """The state of the payment, or of the refund, at the provider after a request."""

    id: str | None
    status: Literal["authorized", "declined", "captured", "voided", "refunded", "refused"]
    reason: str | None


class ListedPayment(ProviderOutcome):
    """A payment in the provider's list. `changed` is the number of its last change, counted over all payments."""

    id: str
    reference: str
    amount_cents: int
    captured_cents: int
    refunded_cents: int
    changed: int


_outcomes, _list = TypeAdapter(list[ProviderOutcome]), TypeAdapter(list[ListedPayment])


async def request_outcome(attempt: Attempt, runtime: Runtime[PaymentSettings]) -> ProviderOutcome | None:
    """Send the request of an attempt, which is safe to repeat. None: the outcome is unknown, money may have moved."""
    try:
        return await _earlier_outcome(attempt, runtime) or await _send_request(attempt, runtime)
    except CallRejected:
        return None
    except (httpx.HTTPError, ValueError) as error:
        logger.warning(
            "the outcome of a payment attempt is unknown; the attempt will be repeated",
            extra={
                "order_id": str(attempt.order_id),
                "kind": attempt.kind,
                "tries": attempt.tries,
                "error": repr(error),
            },
        )
        return None


_with_retries = stamina.retry(on=(httpx.HTTPError, CallRejected), attempts=5, wait_initial=0.2, wait_max=2)


@_with_retries
async def list_changes(position: int, runtime: Runtime[PaymentSettings]) -> list[ListedPayment]:
    """The next page of payments by number of change; empty at the end. Raises httpx.HTTPError or CallRejected."""
    answer = await _call(runtime, "GET", "/payments", params={"since": position})
    return _list.validate_json(answer.raise_for_status().content)


@_with_retries
async def find_by_reference(reference: str, runtime: Runtime[PaymentSettings]) -> list[ListedPayment]:
    """The provider's payments for an order. Raises httpx.HTTPError or CallRejected."""
    answer = await _call(runtime, "GET", "/payments", params={"reference": reference})
    return _list.validate_json(answer.raise_for_status().content)


async def _send_request(attempt: Attempt, runtime: Runtime[PaymentSettings]) -> ProviderOutcome | None:
    path, body = _request(attempt)
    headers = {"Idempotency-Key": str(attempt.id)}
    answer = await _call(runtime, "POST", path, retry=attempt.tries > 0, json=body, headers=headers)
    if answer.status_code == 422 and attempt.kind == AttemptKind.AUTHORIZE:
        return ProviderOutcome(id=None, status="declined", reason="not_accepted")
    outcome = ProviderOutcome.model_validate_json(answer.raise_for_status().content)
    if attempt.kind == AttemptKind.VOID and outcome.status in ("authorized", "captured"):
        raise ValueError(f"a void left the payment {outcome.status}")
    return outcome


async def _earlier_outcome(attempt: Attempt, runtime: Runtime[PaymentSettings]) -> ProviderOutcome | None:
    """The outcome of an earlier request of an old attempt, whose key the provider may have forgotten.

    Without this look-up, repeating the request would move the money a second time.
    """
    if time.time() - (attempt.id.int >> 80) / 1000 < IDEMPOTENCY_KEY_SECONDS:  # a UUIDv7 begins with milliseconds
        return None
    match attempt.kind:
        case AttemptKind.AUTHORIZE:
            path, reference = "/payments", str(attempt.order_id)
        case AttemptKind.REFUND:
            path, reference = f"/payments/{attempt.provider_id}/refunds", str(attempt.refund_id)
        case _:
            return None  # a payment is captured and voided once, whatever the key
    answer = await _call(runtime, "GET", path, retry=True, params={"reference": reference})
    return next(iter(_outcomes.validate_json(answer.raise_for_status().content)), None)


def _request(attempt: Attempt) -> tuple[str, dict[str, object] | None]:
    match attempt.kind:
        case AttemptKind.AUTHORIZE:
            held = {"amount_cents": attempt.amount_cents, "currency": attempt.currency, "token": attempt.payment_token}
            return "/payments", {"reference": str(attempt.order_id), **held}
        case AttemptKind.REFUND:
            back = {"reference": str(attempt.refund_id), "amount_cents": attempt.amount_cents}
            return f"/payments/{attempt.provider_id}/refunds", back
        case kind:
            return f"/payments/{attempt.provider_id}/{kind}", None


async def _call(
    runtime: Runtime[PaymentSettings], method: str, path: str, *, retry: bool = False, **request: Any
) -> httpx.Response:
    """The answer, also one that refuses the request. An answer of an overloaded or failing provider is raised."""
    settings = runtime.settings
    async with runtime.resource(CircuitBreaker).call(retry=retry):
        url, timeout = f"{settings.provider_url}{path}", settings.provider_timeout_seconds
        answer = await runtime.http.request(method, url, timeout=timeout, **request)
        return answer.raise_for_status() if answer.status_code == 429 or answer.is_server_error else answer
