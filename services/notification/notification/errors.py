"""What can go wrong with mails and with what people want of them."""

from chassis.errors import Problem


class UnsubscribeRefused(Problem):
    status, code, detail = 422, "unsubscribe_refused", "This is not a link that we have sent."


class AddressUnusable(Exception):
    """No mail can be sent to an address that looks like this."""


class NotWritable(Exception):
    """A command lacks what its template speaks of. Its message is parked."""
