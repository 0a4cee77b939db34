"""What can go wrong with mails and with what people want of them."""

from chassis.errors import Problem


class UnsubscribeTokenInvalid(Problem):
    status, code, detail = 422, "unsubscribe_token_invalid", "This is not a link that we have sent."


class AddressUndeliverable(Exception):
    """No mail can be sent to an address that looks like this."""


class TemplateFieldsMissing(Exception):
    """A command lacks what its template speaks of. Its message is parked."""
