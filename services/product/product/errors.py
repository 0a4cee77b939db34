"""The faults that stop a message of the product service."""


class NothingReserved(Exception):
    """CommitStock for an order without a reservation. The message becomes a dead letter: an operator has to look."""


class ReturnExceedsCommitted(Exception):
    """RestockItems for more pieces than have left. The message becomes a dead letter: an operator has to look."""
