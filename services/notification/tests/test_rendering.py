"""Every template as its reader gets it, from a real mail server."""

from email.utils import parsedate_to_datetime

import pytest

from chassis.tables import new_id
from chassis.testing import Launched
from contracts.notification import Template
from notification.rendering import format_money

from .conftest import SHOP, FakeMailServer, FakeUserService, command, mail_of

ORDER = new_id()
# template, what its command says: the subject, and what both the text and the HTML say.
CASES = [
    (Template.WELCOME, {}, "Welcome", [SHOP, "your account is open"]),
    (
        Template.PASSWORD_RESET,
        {"about": ORDER},
        "A new password",
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
        "Your order is cancelled",
        ["5.00 EUR", "because the payment was declined. You pay nothing", f"{SHOP}/orders/{ORDER}"],
    ),
    (
        Template.ORDER_CANCELLED,
        {"about": ORDER, "amount_cents": 500, "currency": "EUR", "reason": "of_a_new_kind"},
        "Your order is cancelled",
        ["cancelled. You pay nothing"],
    ),
    (
        Template.ORDER_SHIPPED,
        {"about": ORDER, "amount_cents": 1990, "currency": "EUR"},
        "Your order is on its way",
        ["19.90 EUR", f"{SHOP}/orders/{ORDER}"],
    ),
    (
        Template.ORDER_REFUNDED,
        {"about": ORDER, "amount_cents": 1990, "currency": "JPY"},
        "Your money is on its way back",
        ["1,990 JPY", f"{SHOP}/orders/{ORDER}"],
    ),
    (
        Template.REVIEW_ASKED,
        {"about": ORDER},
        "How do you like it?",
        [f"{SHOP}/orders/{ORDER}", f"{SHOP}/unsubscribe?token="],
    ),
]


def test_every_template_has_a_case_here() -> None:
    assert {template for template, *_ in CASES} == set(Template)


@pytest.mark.parametrize(("template", "about", "subject", "words"), CASES)
async def test_a_rendered_mail(
    notification: Launched,
    users: FakeUserService,
    mail_server: FakeMailServer,
    template: Template,
    about: dict[str, object],
    subject: str,
    words: list[str],
) -> None:
    user_id = users.add(name="Ada <b>& Co")
    users.answers[f"/password-resets/{ORDER}/secret"] = {"secret": "a&b"}
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
def test_an_amount_is_written_with_the_digits_of_its_currency(cents: int, currency: str, written: str) -> None:
    assert format_money(cents, currency) == written
