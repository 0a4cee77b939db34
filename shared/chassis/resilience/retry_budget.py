"""A retry budget: while the other side fails, a process makes few retries. Source: Google SRE Book, chapter 22."""

import time

MAX_TOKENS, TOKENS_PER_SUCCESS = 500, 5


class RetryBudget:
    """A token bucket: a retry takes a token, a success adds some, and one token comes back each second.

    While the other side fails, retries dry up to one a second.
    """

    def __init__(self) -> None:
        self._tokens, self._at = float(MAX_TOKENS), time.monotonic()

    def take(self) -> bool:
        """Take the token of a retry. False: the budget is used up."""
        now = time.monotonic()
        self._tokens, self._at = min(self._tokens + now - self._at, MAX_TOKENS), now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def refill(self) -> None:
        """A call succeeded."""
        self._tokens = min(self._tokens + TOKENS_PER_SUCCESS, MAX_TOKENS)
