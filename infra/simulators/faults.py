"""Fault injection: what goes wrong with a request, a parcel or a webhook, and how often."""

from random import Random
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, Field

Fault = Literal[
    "unavailable",  # not done, answered 503
    "breaks",  # done, answered 500
    "late",  # done, answered after `late_seconds`, within the time-out of callers
    "slow",  # done, answered after `slow_seconds`, when callers have timed out
]
Probability = Annotated[float, Field(ge=0, le=1)]


class Card(BaseModel, extra="forbid", frozen=True):
    """How a card behaves: why it is declined, not captured or not refunded, and the fault of each first request."""

    declined: str | None = None
    not_captured: str | None = None
    only_once: bool = False  # only the first capture is refused
    not_refunded: str | None = None
    fault: Fault | None = None


class DeliveryRoute(BaseModel, extra="forbid", frozen=True):
    """How parcels to a postcode travel, the fault of each first request about one, and how its webhooks come."""

    stays: bool = False  # never dispatched
    lost: bool = False  # after the dispatch
    fault: Fault | None = None
    webhooks: Literal["late", "twice", "reversed"] | None = None  # reversed: dispatched comes after what follows it


class FaultRates(BaseModel, extra="forbid", frozen=True):
    """The probability of each fault, drawn anew for EVERY request, webhook or parcel."""

    unavailable: Probability = 0
    breaks: Probability = 0
    late: Probability = 0
    slow: Probability = 0
    webhook_late: Probability = 0  # sent up to `webhook_late_seconds` later, so that the next webhook overtakes it
    webhook_duplicate: Probability = 0  # sent again although it was acknowledged
    lost: Probability = 0  # of a parcel that was dispatched

    def draw_fault(self, random: Random) -> Fault | None:
        draw = random.random()
        for fault in get_args(Fault):
            draw -= getattr(self, fault)
            if draw < 0:
                return fault  # type: ignore[no-any-return]
        return None


FAULT_PROFILES = {
    "none": FaultRates(),
    "harsh": FaultRates(
        unavailable=0.05, breaks=0.05, late=0.05, slow=0.02, webhook_late=0.3, webhook_duplicate=0.3, lost=0.02
    ),
}


def _profile(value: Any) -> Any:
    return FAULT_PROFILES.get(value, value) if isinstance(value, str) else value


FaultProfile = Annotated[FaultRates, BeforeValidator(_profile)]  # a name in FAULT_PROFILES, or the rates themselves
