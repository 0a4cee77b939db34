"""An outage of something that a process depends on: logged once when it begins, and once when it ends."""

import logging


class Outage:
    """Says that something is away once, and once that it is back."""

    def __init__(self, what: str, logger: logging.Logger, reason: str | None = None) -> None:
        self.reason = reason  # one that is there from the start is no news, nor is its end
        self._what, self._logger, self._said = what, logger, False

    def begin(self, error: BaseException) -> None:
        if not self._said:
            self._logger.warning("%s is away; waiting for it", self._what, extra={"error": repr(error)})
        self.reason, self._said = repr(error), True

    def end(self) -> None:
        if self._said:
            self._logger.warning("%s is back", self._what)
        self.reason, self._said = None, False
