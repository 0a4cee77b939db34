"""A retry budget: how many retries a process may make while the other side fails."""

import time

MAX_TOKENS, TOKENS_PER_SUCCESS = 500, 5


class RetryBudget:
    """A retry costs a token, a success pays some back: while the other side fails, retries dry up to one a second."""

    def __init__(self) -> None:
        self._tokens, self._at = float(MAX_TOKENS), time.monotonic()

    def take(self) -> bool:
        now = time.monotonic()
        self._tokens, self._at = min(self._tokens + now - self._at, MAX_TOKENS), now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def pay_back(self) -> None:
        self._tokens = min(self._tokens + TOKENS_PER_SUCCESS, MAX_TOKENS)
