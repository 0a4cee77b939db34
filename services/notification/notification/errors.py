"""Errors of the notification service: one problem of its API, and two that only mails and messages meet."""

from chassis.errors import Problem


class UnsubscribeTokenInvalid(Problem):
    """The token of an unsubscribe request was not signed by this service, or only a part of it was sent.

    The client takes the whole token from the link in the mail, or lets its user sign in and change the preferences.
    """

    status, code, detail = 422, "unsubscribe_token_invalid", "The token is not one from an unsubscribe link of ours."


class AddressUndeliverable(Exception):
    """No mail can be sent to this address: its syntax is wrong, or its local part is not ASCII."""


class TemplateFieldsMissing(Exception):
    """A Notify command lacks fields that its template shows. The message goes to the dead letters."""
