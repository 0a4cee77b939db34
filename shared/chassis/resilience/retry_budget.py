"""A retry budget: how many retries a process may make while the other side fails."""

import time

MOST_TOKENS, PAID_BACK = 500, 5


class RetryBudget:
    """A retry costs a token, a success pays some back: while the other side fails, retries dry up to one a second."""

    def __init__(self) -> None:
        self._tokens, self._at = float(MOST_TOKENS), time.monotonic()

    def take(self) -> bool:
        now = time.monotonic()
        self._tokens, self._at = min(self._tokens + now - self._at, MOST_TOKENS), now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def pay_back(self) -> None:
        self._tokens = min(self._tokens + PAID_BACK, MOST_TOKENS)
