"""Every template as its recipient gets it, from a real mail server; and the words for amounts and reasons."""

import ast
from email.utils import parsedate_to_datetime
from importlib.util import find_spec
from pathlib import Path

import pytest

from chassis.database import new_id
from chassis.testing import Launched
from contracts.notification import Template
from ledger.fakes import FakeUserService
from notification.rendering import _templates, format_money

from .conftest import SHOP, FakeMailServer, command, mail_of

ORDER = new_id()
# A template and the fields of its command; the subject, and words that the text and the HTML contain.
CASES = [
    (Template.WELCOME, {}, "Welcome", [SHOP, "Your account is ready"]),
    (
        Template.PASSWORD_RESET,
        {"about": ORDER},
        "Reset your password",
        [f"{SHOP}/password-reset?secret=a%26b", "stays as it is"],
    ),
    (
        Template.ORDER_CONFIRMED,
        {"about": ORDER, "amount_cents": 123_456, "currency": "EUR"},
        "Your order is confirmed",
        ["1,234.56 EUR", f"{SHOP}/orders/{ORDER}"],
    ),
    (
        Template.ORDER_CANCELLED,
        {"about": ORDER, "amount_cents": 500, "currency": "EUR", "reason": "payment_declined"},
        "Your order has been cancelled",
        ["5.00 EUR", "because the payment was declined. You will not be charged", f"{SHOP}/orders/{ORDER}"],
    ),
    (
        Template.ORDER_CANCELLED,
        {"about": ORDER, "amount_cents": 500, "currency": "EUR", "reason": "a_reason_without_words"},
        "Your order has been cancelled",
        ["cancelled. You will not be charged"],
    ),
    (
        Template.ORDER_SHIPPED,
        {"about": ORDER, "amount_cents": 1990, "currency": "EUR"},
        "Your order is on its way",
        ["19.90 EUR", f"{SHOP}/orders/{ORDER}"],
    ),
    (
        Template.ORDER_UNDELIVERED,
        {"about": ORDER, "amount_cents": 1990, "currency": "EUR", "reason": "parcel_lost"},
        "Your parcel was lost",
        ["19.90 EUR", "You will not be charged", f"{SHOP}/orders/{ORDER}"],
    ),
    (
        Template.ORDER_REFUNDED,
        {"about": ORDER, "amount_cents": 1990, "currency": "JPY"},
        "Your refund is on its way",
        ["1,990 JPY", f"{SHOP}/orders/{ORDER}"],
    ),
    (
        Template.REVIEW_ASKED,
        {"about": ORDER},
        "How do you like it?",
        [f"{SHOP}/orders/{ORDER}", f"{SHOP}/unsubscribe?token="],
    ),
]


def test_every_template_has_a_case() -> None:
    assert {template for template, *_ in CASES} == set(Template)


@pytest.mark.parametrize(("template", "about", "subject", "words"), CASES)
async def test_a_mail_is_rendered_as_text_and_as_html(
    notification: Launched,
    users: FakeUserService,
    mail_server: FakeMailServer,
    template: Template,
    about: dict[str, object],
    subject: str,
    words: list[str],
) -> None:
    user_id = users.add_contact(name="Ada <b>& Co")
    users.answers["GET", f"/password-resets/{ORDER}/secret"] = (200, {"secret": "a&b"})
    await notification.send(command(user_id, template, **about))
    (message,), mail = mail_server.to(user_id), await mail_of(notification, user_id)
    assert message["Subject"] == subject
    assert message["From"] == "The shop <shop@shop.example>"
    (to,) = message["To"].addresses
    assert (to.display_name, to.addr_spec) == ("Ada <b>& Co", f"{user_id}@example.org")
    assert message["Message-ID"] == f"<{mail.id}@shop.example>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert abs((parsedate_to_datetime(message["Date"]) - mail.requested_at).total_seconds()) < 1
    assert ("List-Unsubscribe" in message) == (template == Template.REVIEW_ASKED)
    text, html = (message.get_body([kind]) for kind in ("plain", "html"))
    assert text is not None
    assert html is not None
    assert "Hello Ada <b>& Co," in text.get_content()
    assert "Hello Ada &lt;b&gt;&amp; Co," in html.get_content()
    for body in (text.get_content(), html.get_content()):
        assert [word for word in words if word not in " ".join(body.split())] == []


@pytest.mark.parametrize(
    ("cents", "currency", "written"),
    [
        (0, "EUR", "0.00 EUR"),
        (5, "EUR", "0.05 EUR"),
        (123_456_789, "USD", "1,234,567.89 USD"),
        (1990, "JPY", "1,990 JPY"),
        (1990, "KWD", "1.990 KWD"),
    ],
)
def test_an_amount_has_the_digits_of_its_currency(cents: int, currency: str, written: str) -> None:
    assert format_money(cents, currency) == written


# Reasons of the order service that no mail about a cancelled order can have.
NOT_OF_A_CANCELLED_ORDER = {
    "not_captured",  # of a refund
    "parcel_lost",  # the order becomes undelivered, and is refunded
    "shipment_cancelled",  # the first reason of an order stays, and shipping was asked to cancel for another one
}


def test_there_are_words_for_every_reason_of_a_cancellation_and_no_others() -> None:
    """The reasons are read from the source of the order service, which notification may not import."""
    package = find_spec("order")
    assert package is not None
    assert package.origin is not None
    reasons = {
        keyword.value.value
        for path in Path(package.origin).parent.glob("**/*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "reason" and isinstance(keyword.value, ast.Constant) and keyword.value.value is not None
    }
    assert reasons >= NOT_OF_A_CANCELLED_ORDER
    words = _templates.get_template("reasons.txt").make_module()
    assert set(vars(words)["REASONS"]) == reasons - NOT_OF_A_CANCELLED_ORDER
