"""Rendering a mail: from its row and its recipient to the MIME message, as text and as HTML, with Jinja2 templates.

`templates/<template>.txt` has the blocks `subject` and `body`, `templates/<template>.html` has the block `body`.
"""

from decimal import Decimal
from email import policy
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from contracts.user import ContactView
from notification.config import NotificationSettings
from notification.errors import AddressUndeliverable
from notification.mails import ADVERTISING
from notification.models import Mail
from notification.tokens import create_unsubscribe_token

# Currencies whose minor unit does not have two digits. Source: ISO 4217.
_MINOR_DIGITS = {"CLP": 0, "ISK": 0, "JPY": 0, "KRW": 0, "VND": 0, "BHD": 3, "JOD": 3, "KWD": 3, "OMR": 3, "TND": 3}
# Header lines as long as RFC 5322 allows. Shorter ones would be folded into encoded words, and mail programs do not
# recognize a link in those.
UNFOLDED = policy.SMTP.clone(max_line_length=998)


def format_money(amount_cents: int, currency: str) -> str:
    """`format_money(123456, "EUR")` is `1,234.56 EUR`. The amount is in minor units."""
    digits = _MINOR_DIGITS.get(currency, 2)
    return f"{Decimal(amount_cents).scaleb(-digits):,.{digits}f} {currency}"


_templates = Environment(
    loader=PackageLoader("notification"),
    autoescape=select_autoescape(["html"]),
    undefined=StrictUndefined,  # a missing value raises an error instead of leaving a gap in the mail
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters["money"] = format_money


def _recipient_address(recipient: ContactView) -> Address:
    """The address as ASCII: a domain has an ASCII form, a local part has none that most mail servers accept."""
    local_part, _, domain = recipient.email.rpartition("@")
    try:
        address = f"{local_part.encode('ascii').decode()}@{domain.encode('idna').decode()}"
        return Address(recipient.name, addr_spec=address)
    except (ValueError, MessageError) as error:
        raise AddressUndeliverable() from error


def render_message(
    mail: Mail, recipient: ContactView, secret: str | None, settings: NotificationSettings
) -> EmailMessage:
    """The complete message. `secret` is for the template of password resets. Raises AddressUndeliverable."""
    shop, sender = settings.shop_url.rstrip("/"), settings.sender
    values = {"mail": mail, "name": recipient.name, "shop": shop, "secret": secret}
    text, html = (_templates.get_template(f"{mail.template}.{kind}") for kind in ("txt", "html"))
    message = EmailMessage(UNFOLDED)
    message["From"] = sender
    message["To"] = _recipient_address(recipient)
    message["Subject"] = "".join(text.blocks["subject"](text.new_context(values))).strip()
    message["Date"] = mail.requested_at
    message["Message-ID"] = f"<{mail.id}@{sender.domain}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: vacation responders do not answer
    if mail.template in ADVERTISING:
        token = quote(create_unsubscribe_token(mail.user_id, settings.service_key))
        values["unsubscribe"] = f"{shop}/unsubscribe?token={token}"  # a page with a button, for people
        message["List-Unsubscribe"] = f"<{shop}/api/v1/unsubscriptions/{token}>"  # RFC 8058: for mail programs
        message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    message.set_content(text.render(values))
    message.add_alternative(html.render(values), subtype="html")
    return message
