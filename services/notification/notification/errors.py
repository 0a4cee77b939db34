"""Errors of the notification service that only mails and messages meet."""


class AddressUndeliverable(Exception):
    """No mail can be sent to this address: its syntax is wrong, or its local part is not ASCII."""


class TemplateFieldsMissing(Exception):
    """A Notify command lacks fields that its template shows. The message goes to the dead letters."""
