"""Settings of the notification service: the mail server, the links in mails, and how long a mail is tried and kept."""

from email.headerregistry import Address
from email.utils import parseaddr
from typing import Literal

from pydantic import Field

from chassis.config import Settings

DAY = 24 * 3600


class NotificationSettings(Settings):
    smtp_host: str = Field("127.0.0.1", description="Host name or address of the mail server.")
    smtp_port: int = Field(1025, description="Port of the mail server.")
    smtp_security: Literal["none", "starttls", "tls"] = Field(
        "none",
        description="How the connection to the mail server is encrypted: not at all, by STARTTLS, or by TLS from the"
        " first byte.",
    )
    smtp_user: str = Field("", description="User name at the mail server. Empty: the mail server asks for none.")
    smtp_password: str = Field("", description="Password of `smtp_user`.")
    smtp_timeout_seconds: float = Field(
        10, gt=0, description="How long to wait for each reply of the mail server before the connection is closed."
    )
    smtp_from: str = Field(
        "The shop <shop@example.org>",
        pattern=r"^.*[^@\s]@[^@\s]+$|^.*<[^@\s]+@[^@\s]+>$",
        description="Sender of every mail, with or without a display name. Its domain also ends each Message-ID.",
    )
    shop_url: str = Field("http://127.0.0.1:8080", description="Public address of the shop: links in mails begin so.")
    lease_seconds: float = Field(
        60,
        gt=0,
        description="How long a worker owns the batch of mails that it has taken. It sends for half of that time; the"
        " mails of a worker that has died are taken by another worker when the lease ends.",
    )
    first_retry_delay_seconds: float = Field(
        30,
        description="Longest delay before a deferred mail is tried for the second time; it doubles with each try. Mails"
        " that wait for a server that is down are tried again after it.",
    )
    max_retry_delay_seconds: float = Field(3600, description="Longest delay between two tries of a deferred mail.")
    max_queue_seconds: float = Field(
        4 * DAY,
        description="How long a mail may wait in all. One that is deferred again after that is dropped. RFC 5321,"
        " 4.5.4.1, asks for at least four to five days.",
    )
    retention_seconds: float = Field(90 * DAY, description="How long a mail's row is kept after it was requested.")

    @property
    def sender(self) -> Address:
        """`smtp_from`, parsed."""
        name, address = parseaddr(self.smtp_from)
        return Address(name, addr_spec=address)
