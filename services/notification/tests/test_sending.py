"""Sending: one mail per cause, retries after a refusal, an end to them, opting out, and erasure."""

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import httpx
import pytest
from jinja2 import Environment
from joserfc import jwt
from joserfc.jwk import OctKey

from chassis.database import new_id
from chassis.testing import SERVICE_KEY, Launch, Launched
from contracts.notification import NotificationDropped, NotificationSent, Template
from contracts.user import ReportErasure, UserErased
from ledger.fakes import FakeUserService
from ledger.waiting import until
from notification import rendering, tasks
from notification.main import service
from notification.models import Mail, MailState, Preference
from notification.tasks import send_mails

from .conftest import NO_REPLY, FakeMailServer, address, command, mail_of, settings_for


async def finished_mail(notification: Launched, user_id: UUID) -> Mail:
    """The mail, once it is sent or dropped. The task that runs every 15 seconds is woken here again and again."""

    async def finished() -> bool:
        if (await mail_of(notification, user_id)).state != MailState.PENDING:
            return True
        notification.instance.tasks.wake({send_mails: None})
        return False

    await until(finished)
    await notification.settled()
    return await mail_of(notification, user_id)


async def test_a_mail_is_sent_and_its_result_published(
    notification: Launched, users: FakeUserService, mail_server: FakeMailServer
) -> None:
    user_id = users.add_contact()
    notify = command(user_id)
    await notification.send(notify)
    assert len(mail_server.to(user_id)) == 1
    (sent,) = await notification.sent()
    assert sent == NotificationSent(user_id=user_id, cause_id=notify.cause_id, template=Template.WELCOME)
    assert (await mail_of(notification, user_id)).due_at is None


async def test_a_repeated_command_is_answered_again_and_sends_one_mail(
    notification: Launched, users: FakeUserService, mail_server: FakeMailServer
) -> None:
    user_id = users.add_contact()
    notify = command(user_id)
    await notification.send(notify, notify)
    await notification.send(notify)
    assert len(mail_server.to(user_id)) == 1
    assert {type(message) for message in await notification.sent()} == {NotificationSent}


async def test_one_cause_may_bring_mails_to_several_users_and_of_several_templates(
    notification: Launched, users: FakeUserService, mail_server: FakeMailServer
) -> None:
    ada, bob, cause = users.add_contact(), users.add_contact(), new_id()
    await notification.send(command(ada, cause_id=cause), command(bob, cause_id=cause))
    await notification.send(command(ada, Template.REVIEW_ASKED, cause_id=cause, about=new_id()))
    assert (len(mail_server.to(ada)), len(mail_server.to(bob))) == (2, 1)


async def test_a_batch_is_sent_over_one_connection(
    notification: Launched, users: FakeUserService, mail_server: FakeMailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "BATCH_SIZE", 10)
    recipients = [users.add_contact() for _ in range(25)]
    await notification.send(*(command(user_id) for user_id in recipients))
    assert [len(mail_server.to(user_id)) for user_id in recipients] == [1] * len(recipients)
    assert mail_server.connections <= 5


@pytest.mark.parametrize(
    ("refusals", "state", "reason", "deferrals"),
    [
        (["452 full"], MailState.SENT, None, 1),
        (["421 go away", "452 full", NO_REPLY], MailState.SENT, None, 3),
        (["550 no such user"], MailState.DROPPED, "smtp_550", 0),
        (["452 full", "553 no such user"], MailState.DROPPED, "smtp_553", 1),
    ],
)
async def test_a_refusal_of_one_recipient_does_not_affect_the_others(
    launch: Launch,
    users: FakeUserService,
    mail_server: FakeMailServer,
    refusals: list[str],
    state: MailState,
    reason: str | None,
    deferrals: int,
) -> None:
    notification = await launch(service, **settings_for(mail_server), SMTP_TIMEOUT_SECONDS=4)
    before, user_id, after = users.add_contact(), users.add_contact(), users.add_contact()
    mail_server.refusals[address(user_id)] = [*refusals]
    commands = [command(it) for it in (before, user_id, after)]
    await notification.send(*commands)
    mail = await finished_mail(notification, user_id)
    assert (mail.state, mail.drop_reason, mail.deferrals) == (state, reason, deferrals)
    assert [len(mail_server.to(it)) for it in (before, user_id, after)] == [1, state == MailState.SENT, 1]
    dropped = [it for it in await notification.sent() if isinstance(it, NotificationDropped)]
    assert [it.reason for it in dropped] == ([reason] if reason else [])


async def test_the_delay_doubles_with_each_try(
    launch: Launch, users: FakeUserService, mail_server: FakeMailServer
) -> None:
    delays = {"FIRST_RETRY_DELAY_SECONDS": 1000, "MAX_RETRY_DELAY_SECONDS": 3000}
    notification = await launch(service, **settings_for(mail_server) | delays)
    user_id = users.add_contact()
    mail_server.refusals[address(user_id)] = ["452 full"] * 3
    await notification.send(command(user_id))
    for longest in (1000, 2000, 3000):
        mail = await mail_of(notification, user_id)
        assert mail.due_at is not None
        async with notification.instance.database.work() as work:
            await work.begin()
            left = (mail.due_at - work.now).total_seconds()
        assert longest / 2 - 100 < left <= longest  # 100: what has passed since the try, at most
        await _make_due(notification, user_id)
        notification.instance.tasks.wake({send_mails: None})
        await notification.settled()
    assert (await mail_of(notification, user_id)).state == MailState.SENT


async def _make_due(notification: Launched, user_id: UUID, requested_days_ago: float = 0) -> None:
    async with notification.instance.database.work() as work:
        for mail in await work.lock(Mail, user_id=[user_id]):
            mail.due_at, mail.requested_at = work.now, work.now - timedelta(days=requested_days_ago)


async def test_a_mail_that_has_waited_for_too_long_is_dropped(
    notification: Launched, users: FakeUserService, mail_server: FakeMailServer
) -> None:
    user_id = users.add_contact()
    mail_server.refusals[address(user_id)] = ["452 full"] * 2
    await notification.send(command(user_id))
    await _make_due(notification, user_id, requested_days_ago=5)
    mail = await finished_mail(notification, user_id)
    assert (mail.state, mail.drop_reason) == (MailState.DROPPED, "smtp_452")


@pytest.mark.parametrize("neighbour", ["users", "mail server"])
async def test_an_outage_of_a_neighbour_loses_no_mail_and_does_not_count_as_a_try(
    notification: Launched,
    users: FakeUserService,
    mail_server: FakeMailServer,
    neighbour: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if neighbour == "users":
        users.unavailable = True
    else:
        mail_server.stop()
    user_id = users.add_contact()
    await notification.send(command(user_id))
    waiting = await mail_of(notification, user_id)
    assert (waiting.state, waiting.deferrals) == (MailState.PENDING, 0)
    users.unavailable = False
    if neighbour == "mail server":
        assert caplog.text.count("the mail server is away") == 1
        mail_server.start()
    mail = await finished_mail(notification, user_id)
    assert (mail.state, mail.deferrals, len(mail_server.to(user_id))) == (MailState.SENT, 0, 1)


@pytest.mark.parametrize(
    ("email", "template", "reason"),
    [
        (None, Template.WELCOME, "account_gone"),
        ("ada@example.org", Template.PASSWORD_RESET, "password_reset_expired"),
        ("not an address", Template.WELCOME, "address_undeliverable"),
        ("ädä@example.org", Template.WELCOME, "address_undeliverable"),
    ],
)
async def test_a_mail_that_cannot_be_delivered_is_dropped(
    notification: Launched,
    users: FakeUserService,
    mail_server: FakeMailServer,
    email: str | None,
    template: Template,
    reason: str,
) -> None:
    user_id = users.add_contact(email) if email else new_id()
    notify = command(user_id, template, about=new_id())
    await notification.send(notify)
    about = {"user_id": user_id, "cause_id": notify.cause_id, "template": template}
    assert await notification.sent() == [NotificationDropped(**about, reason=reason)]
    assert mail_server.received == []


async def test_a_domain_beyond_ascii_is_sent_in_its_ascii_form(
    notification: Launched, users: FakeUserService, mail_server: FakeMailServer
) -> None:
    await notification.send(command(users.add_contact("ada@bücher.example")))
    (message,) = mail_server.received
    assert message["To"].addresses[0].domain == "xn--bcher-kva.example"


async def test_a_command_without_the_fields_of_its_template_becomes_a_dead_letter(
    notification: Launched, users: FakeUserService, mail_server: FakeMailServer
) -> None:
    ada, bob = users.add_contact(), users.add_contact()
    await notification.send(command(ada, Template.ORDER_REFUNDED, about=new_id(), currency="EUR"), command(bob))
    async with notification.as_staff() as staff:
        (dead_letter,) = (await staff.get("/internal/dead-letters")).json()
    assert dead_letter["key"] == str(ada)
    assert "order_refunded needs amount_cents" in dead_letter["reason"]
    assert (len(mail_server.to(ada)), len(mail_server.to(bob))) == (0, 1)


async def test_an_error_in_a_template_delays_its_own_mails_only(
    notification: Launched,
    users: FakeUserService,
    mail_server: FakeMailServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(cents: int, currency: str) -> str:
        raise KeyError("an error in the template")

    filters: dict[str, Callable[..., str]] = rendering._templates.filters
    ada, bob = users.add_contact(), users.add_contact()
    with monkeypatch.context() as patched:
        patched.setitem(filters, "money", broken)
        order = {"about": new_id(), "amount_cents": 1, "currency": "EUR"}
        await notification.send(command(ada, Template.ORDER_SHIPPED, **order), command(bob))
    assert (len(mail_server.to(ada)), len(mail_server.to(bob))) == (0, 1)
    assert "a mail could not be rendered" in caplog.text
    assert (await finished_mail(notification, ada)).state == MailState.SENT  # the template is corrected
    assert isinstance(rendering._templates, Environment)


# Preferences.


async def test_the_unsubscribe_link_stops_advertising_and_nothing_else(
    notification: Launched, users: FakeUserService, mail_server: FakeMailServer
) -> None:
    user_id = users.add_contact()
    await notification.send(command(user_id, Template.REVIEW_ASKED, about=new_id()))
    (message,) = mail_server.to(user_id)
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    link = message["List-Unsubscribe"].strip("<>")
    assert link.startswith("https://shop.example/api/v1/unsubscriptions/")
    async with notification.client() as anonymous:
        answer = await anonymous.post("/unsubscriptions", json={"token": link.rpartition("/")[2]})
    assert answer.status_code == 204
    await notification.send(command(user_id, Template.REVIEW_ASKED, about=new_id()), command(user_id))
    assert [it["Subject"] for it in mail_server.to(user_id)] == ["How do you like it?", "Welcome"]
    reasons = [it.reason for it in await notification.sent() if isinstance(it, NotificationDropped)]
    assert reasons == ["unsubscribed"]


async def test_the_unsubscribe_header_is_not_folded(
    notification: Launched, users: FakeUserService, mail_server: FakeMailServer
) -> None:
    user_id = users.add_contact()
    await notification.send(command(user_id, Template.REVIEW_ASKED, about=new_id()))
    (raw,) = mail_server.raw
    assert b"\r\nList-Unsubscribe: <https://shop.example/api/v1/unsubscriptions/" in raw
    assert max(len(line) for line in raw.split(b"\r\n")) < 998


@pytest.mark.parametrize(
    "forged",
    [
        "x",
        "",
        jwt.encode({"alg": "HS256"}, {"sub": str(new_id())}, OctKey.import_key(SERVICE_KEY)),
        jwt.encode(
            {"alg": "HS256"}, {"sub": str(new_id())}, OctKey.import_key("a key that does not sign unsubscribe links")
        ),
    ],
    ids=["no token", "empty", "another purpose", "another key"],
)
async def test_a_forged_token_is_refused(notification: Launched, forged: str) -> None:
    async with notification.client() as anonymous:
        answer = await anonymous.post("/unsubscriptions", json={"token": forged})
    assert (answer.status_code, answer.json()["code"]) == (422, "unsubscribe_token_invalid")
    assert await notification.rows(Preference) == []


async def test_users_read_and_set_their_own_preferences(notification: Launched) -> None:
    async with notification.as_customer() as ada, notification.as_customer() as bob, notification.client() as anonymous:
        assert (await ada.get("/me/preferences")).json() == {"advertising": True}
        for wanted in (False, True, False):
            assert (await ada.put("/me/preferences", json={"advertising": wanted})).json() == {"advertising": wanted}
            assert (await ada.get("/me/preferences")).json() == {"advertising": wanted}
        assert (await bob.get("/me/preferences")).json() == {"advertising": True}
        answers: list[httpx.Response] = [
            await anonymous.get("/me/preferences"),
            await ada.put("/me/preferences", json={}),
        ]
    assert [answer.status_code for answer in answers] == [401, 422]


# Erasure and retention.


async def test_an_erasure_deletes_all_rows_of_the_user_and_stops_pending_mails(
    notification: Launched, users: FakeUserService, mail_server: FakeMailServer
) -> None:
    ada, bob, erasure = users.add_contact(), users.add_contact(), new_id()
    await notification.send(command(ada), command(bob))
    mail_server.refusals[address(ada)] = ["452 full"] * 9
    waiting = command(ada)
    await notification.send(waiting)
    async with notification.as_customer(ada) as client:
        await client.put("/me/preferences", json={"advertising": False})
    await notification.send(UserErased(user_id=ada, erasure_id=erasure))
    assert {mail.user_id for mail in await notification.rows(Mail)} == {bob}
    assert await notification.rows(Preference) == []
    about = {"user_id": ada, "cause_id": waiting.cause_id, "template": Template.WELCOME}
    assert (await notification.sent())[-2:] == [
        NotificationDropped(**about, reason="account_gone"),
        ReportErasure(user_id=ada, erasure_id=erasure, service="notification", rows=3),
    ]
    await notification.send(UserErased(user_id=ada, erasure_id=erasure))
    assert (await notification.sent())[-1] == ReportErasure(
        user_id=ada, erasure_id=erasure, service="notification", rows=0
    )


async def test_old_mails_are_deleted(
    launch: Launch, users: FakeUserService, mail_server: FakeMailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "DELETE_BATCH_SIZE", 2)
    notification = await launch(service, **settings_for(mail_server))
    young, *recipients = [users.add_contact() for _ in range(6)]
    await notification.send(*(command(user_id) for user_id in [young, *recipients]))
    for user_id in recipients:
        async with notification.instance.database.work() as work:
            for mail in await work.lock(Mail, user_id=[user_id]):
                mail.requested_at = work.now - timedelta(days=91)
    notification.instance.tasks.wake({tasks.delete_old_mails: None})
    await notification.settled()
    assert {mail.user_id for mail in await notification.rows(Mail)} == {young}
