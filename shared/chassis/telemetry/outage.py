"""An outage of a dependency: logged once when it begins, and once when it ends."""

import logging


class Outage:
    """Whether something that this process depends on is away now, and why."""

    def __init__(self, dependency: str, logger: logging.Logger, reason: str | None = None) -> None:
        """A `reason` from the start ("not connected yet") is shown but not logged, and neither is its end."""
        self.reason = reason
        self._dependency, self._logger, self._logged = dependency, logger, False

    def begin(self, error: BaseException) -> None:
        if not self._logged:
            self._logger.warning("%s is away; waiting for it", self._dependency, extra={"error": repr(error)})
        self.reason, self._logged = repr(error), True

    def end(self) -> None:
        if self._logged:
            self._logger.warning("%s is back", self._dependency)
        self.reason, self._logged = None, False
