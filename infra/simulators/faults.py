"""How badly the outside world behaves: what goes wrong with a request or a webhook, and how often."""

from random import Random
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, Field

Fault = Literal[
    "unavailable",  # not done, and 503
    "breaks",  # done, and 500
    "late",  # done, and answered after `late_seconds`, below what callers wait
    "slow",  # done, and answered after `slow_seconds`, when nobody waits any more
]
Probability = Annotated[float, Field(ge=0, le=1)]


class Card(BaseModel, extra="forbid", frozen=True):
    """How a card behaves: reasons why it is declined, not captured, not refunded, and the fault of each first try."""

    declined: str | None = None
    not_captured: str | None = None
    only_once: bool = False  # not captured at first, but the next time
    not_refunded: str | None = None
    fault: Fault | None = None


class DeliveryRoute(BaseModel, extra="forbid", frozen=True):
    """What becomes of parcels to a postcode, the fault of each first try there, and how its news are told."""

    stays: bool = False  # never dispatched
    lost: bool = False  # after it was dispatched
    fault: Fault | None = None
    news: Literal["late", "twice", "reversed"] | None = None  # reversed: what follows is told before dispatched


class FaultRates(BaseModel, extra="forbid", frozen=True):
    """The share of ALL requests that each fault befalls, drawn for each request anew, and the same of webhooks."""

    unavailable: Probability = 0
    breaks: Probability = 0
    late: Probability = 0
    slow: Probability = 0
    webhook_late: Probability = 0  # told up to `webhook_late_seconds` later, so that what happens next overtakes it
    webhook_again: Probability = 0  # told once more, though it was taken
    lost: Probability = 0  # of all parcels that left

    def fault(self, chance: Random) -> Fault | None:
        draw = chance.random()
        for fault in get_args(Fault):
            draw -= getattr(self, fault)
            if draw < 0:
                return fault  # type: ignore[no-any-return]
        return None


FAULT_PROFILES = {
    "kind": FaultRates(),
    "cruel": FaultRates(
        unavailable=0.05, breaks=0.05, late=0.05, slow=0.02, webhook_late=0.3, webhook_again=0.3, lost=0.02
    ),
}


def _named(faults: Any) -> Any:
    return FAULT_PROFILES.get(faults, faults) if isinstance(faults, str) else faults


FaultProfile = Annotated[
    FaultRates, BeforeValidator(_named)
]  # the name of one in FAULT_PROFILES, or the shares themselves
