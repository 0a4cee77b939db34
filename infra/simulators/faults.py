"""How badly the outside world behaves: what goes wrong with a request or a webhook, and how often."""

from random import Random
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, Field

Trouble = Literal[
    "unavailable",  # not done, and 503
    "breaks",  # done, and 500
    "late",  # done, and answered after `late_seconds`, below what callers wait
    "slow",  # done, and answered after `slow_seconds`, when nobody waits any more
]
Share = Annotated[float, Field(ge=0, le=1)]


class Card(BaseModel, extra="forbid", frozen=True):
    """How a card behaves: reasons why it is declined, not captured, not refunded, and the trouble of each first try."""

    declined: str | None = None
    not_captured: str | None = None
    only_once: bool = False  # not captured at first, but the next time
    not_refunded: str | None = None
    trouble: Trouble | None = None


class Road(BaseModel, extra="forbid", frozen=True):
    """What becomes of parcels to a postcode, the trouble of each first try there, and how its news are told."""

    stays: bool = False  # never dispatched
    lost: bool = False  # after it was dispatched
    trouble: Trouble | None = None
    news: Literal["late", "twice", "reversed"] | None = None  # reversed: what follows is told before dispatched


class Mood(BaseModel, extra="forbid", frozen=True):
    """The share of ALL requests that each trouble befalls, drawn for each request anew, and the same of webhooks."""

    unavailable: Share = 0
    breaks: Share = 0
    late: Share = 0
    slow: Share = 0
    webhook_late: Share = 0  # told up to `webhook_late_seconds` later, so that what happens next overtakes it
    webhook_again: Share = 0  # told once more, though it was taken
    lost: Share = 0  # of all parcels that left

    def trouble(self, chance: Random) -> Trouble | None:
        draw = chance.random()
        for trouble in get_args(Trouble):
            draw -= getattr(self, trouble)
            if draw < 0:
                return trouble  # type: ignore[no-any-return]
        return None


MOODS = {
    "kind": Mood(),
    "cruel": Mood(unavailable=0.05, breaks=0.05, late=0.05, slow=0.02, webhook_late=0.3, webhook_again=0.3, lost=0.02),
}


def _named(mood: Any) -> Any:
    return MOODS.get(mood, mood) if isinstance(mood, str) else mood


Named = Annotated[Mood, BeforeValidator(_named)]  # the name of one in MOODS, or the shares themselves
