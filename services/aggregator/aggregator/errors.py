"""The problem that only the aggregator finds."""

from chassis.errors import Problem


class RebuildNotFound(Problem):
    """The read models have not been rebuilt yet, so there is no progress to show. The client starts a rebuild."""

    status, code, detail = 404, "rebuild_not_found", "The read models have not been rebuilt yet."
