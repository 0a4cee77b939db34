"""Where the mail server and the shop are, and how long things may take."""

from email.headerregistry import Address
from email.utils import parseaddr
from typing import Literal

from pydantic import Field

from chassis.config import Settings

DAY = 24 * 3600


class NotificationSettings(Settings):
    smtp_host: str = "127.0.0.1"
    smtp_port: int = 1025
    smtp_security: Literal["none", "starttls", "tls"] = "none"
    smtp_user: str = ""  # empty: the server asks for none
    smtp_password: str = ""
    smtp_timeout_seconds: float = Field(10, gt=0)  # for each answer of the server
    smtp_from: str = Field("The shop <shop@example.org>", pattern=r"^.*[^@\s]@[^@\s]+$|^.*<[^@\s]+@[^@\s]+>$")
    shop_url: str = "http://127.0.0.1:8080"  # what links in mails begin with
    lease_seconds: float = Field(60, gt=0)  # a batch is sent in half of it; what a dead worker had is free after it
    first_retry_delay_seconds: float = 30
    max_retry_delay_seconds: float = 3600
    max_queue_seconds: float = 4 * DAY  # RFC 5321, 4.5.4.1: at least four to five days
    retention_seconds: float = 90 * DAY

    @property
    def sender(self) -> Address:
        name, address = parseaddr(self.smtp_from)
        return Address(name, addr_spec=address)
