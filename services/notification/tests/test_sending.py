"""Once per cause, after a refusal again, not for ever, and to nobody who is gone or does not want it."""

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import httpx
import pytest
from jinja2 import Environment
from joserfc import jwt
from joserfc.jwk import OctKey

from chassis.tables import new_id
from chassis.testing import SERVICE_KEY, Launch, Launched
from contracts.notification import NotificationDropped, NotificationSent, Template
from contracts.user import ReportErasure, UserErased
from ledger.waiting import until
from notification import rendering, tasks
from notification.main import service
from notification.models import Mail, MailState, Preference

from .conftest import SLOW_SECONDS, FakeMailServer, FakeUserService, address, command, mail_of, settings_for


async def end_of(it: Launched, user_id: UUID) -> Mail:
    """The mail, once it is sent or dropped. Retries come by themselves in real life, and here when they are due."""

    async def ended() -> bool:
        if (await mail_of(it, user_id)).state != MailState.PENDING:
            return True
        it.instance.tasks.wake({"send_mails": None})
        return False

    await until(ended)
    await it.settled()
    return await mail_of(it, user_id)


async def test_a_mail_is_sent_and_announced(
    notification: Launched, users: FakeUserService, mail_server: FakeMailServer
) -> None:
    user_id = users.add()
    asked = command(user_id)
    await notification.send(asked)
    assert len(mail_server.to(user_id)) == 1
    (sent,) = await notification.sent()
    assert sent == NotificationSent(user_id=user_id, cause_id=asked.cause_id, template=Template.WELCOME)
    assert (await mail_of(notification, user_id)).due_at is None


async def test_a_repeated_command_is_answered_again_and_sends_one_mail(
    notification: Launched, users: FakeUserService, mail_server: FakeMailServer
) -> None:
    user_id = users.add()
    asked = command(user_id)
    await notification.send(asked, asked)
    await notification.send(asked)
    assert len(mail_server.to(user_id)) == 1
    assert {type(message) for message in await notification.sent()} == {NotificationSent}


async def test_one_cause_may_concern_several_people_and_templates(
    notification: Launched, users: FakeUserService, mail_server: FakeMailServer
) -> None:
    ada, bob, cause = users.add(), users.add(), new_id()
    await notification.send(command(ada, cause_id=cause), command(bob, cause_id=cause))
    await notification.send(command(ada, Template.REVIEW_ASKED, cause_id=cause, about=new_id()))
    assert (len(mail_server.to(ada)), len(mail_server.to(bob))) == (2, 1)


async def test_many_mails_leave_over_few_connections(
    notification: Launched, users: FakeUserService, mail_server: FakeMailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "BATCH_SIZE", 10)
    readers = [users.add() for _ in range(25)]
    await notification.send(*(command(user_id) for user_id in readers))
    assert [len(mail_server.to(user_id)) for user_id in readers] == [1] * len(readers)
    assert mail_server.connections <= 5


@pytest.mark.parametrize(
    ("refusals", "state", "reason", "deferrals"),
    [
        (["452 full"], MailState.SENT, None, 1),
        (["421 go away", "452 full", "slow"], MailState.SENT, None, 3),
        (["550 nobody"], MailState.DROPPED, "smtp_550", 0),
        (["452 full", "553 nobody"], MailState.DROPPED, "smtp_553", 1),
    ],
)
async def test_what_the_mail_server_says_of_one_reader_concerns_no_other(
    launch: Launch,
    users: FakeUserService,
    mail_server: FakeMailServer,
    refusals: list[str],
    state: MailState,
    reason: str | None,
    deferrals: int,
) -> None:
    notification = await launch(service, **settings_for(mail_server), SMTP_TIMEOUT_SECONDS=SLOW_SECONDS / 2)
    before, user_id, after = users.add(), users.add(), users.add()
    mail_server.refusals[address(user_id)] = [*refusals]
    asked = [command(it) for it in (before, user_id, after)]
    await notification.send(*asked)
    mail = await end_of(notification, user_id)
    assert (mail.state, mail.drop_reason, mail.deferrals) == (state, reason, deferrals)
    assert [len(mail_server.to(it)) for it in (before, user_id, after)] == [1, state == MailState.SENT, 1]
    dropped = [it for it in await notification.sent() if isinstance(it, NotificationDropped)]
    assert [it.reason for it in dropped] == ([reason] if reason else [])


async def test_it_is_tried_later_and_later(
    notification: Launched, users: FakeUserService, mail_server: FakeMailServer
) -> None:
    user_id = users.add()
    mail_server.refusals[address(user_id)] = ["452 full"] * 3
    pauses = []
    mail = None
    await notification.send(command(user_id))
    for _ in range(3):
        mail = await mail_of(notification, user_id)
        assert mail.due_at is not None
        async with notification.instance.database.work() as work:
            await work.begin()
            pauses.append((mail.due_at - work.now).total_seconds())
        await _make_due(notification, user_id)
        notification.instance.tasks.wake({"send_mails": None})
        await notification.settled()
    base = [0.2, 0.4, 0.8]
    assert all(seconds <= most for seconds, most in zip(pauses, base, strict=True))
    assert (await mail_of(notification, user_id)).state == MailState.SENT


async def _make_due(it: Launched, user_id: UUID, asked_days_ago: float = 0) -> None:
    async with it.instance.database.work() as work:
        for mail in await work.lock(Mail, user_id=[user_id]):
            mail.due_at, mail.requested_at = work.now, work.now - timedelta(days=asked_days_ago)


async def test_a_mail_that_is_no_news_any_more_is_given_up(
    notification: Launched, users: FakeUserService, mail_server: FakeMailServer
) -> None:
    user_id = users.add()
    mail_server.refusals[address(user_id)] = ["452 full"] * 2
    await notification.send(command(user_id))
    await _make_due(notification, user_id, asked_days_ago=5)
    mail = await end_of(notification, user_id)
    assert (mail.state, mail.drop_reason) == (MailState.DROPPED, "smtp_452")


@pytest.mark.parametrize("neighbour", ["users", "mail server"])
async def test_a_neighbour_that_is_away_costs_no_mail_and_counts_as_no_try(
    notification: Launched,
    users: FakeUserService,
    mail_server: FakeMailServer,
    neighbour: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if neighbour == "users":
        users.away = True
    else:
        mail_server.stop()
    user_id = users.add()
    await notification.send(command(user_id))
    waiting = await mail_of(notification, user_id)
    assert (waiting.state, waiting.deferrals) == (MailState.PENDING, 0)
    users.away = False
    if neighbour == "mail server":
        assert caplog.text.count("the mail server is away") == 1
        mail_server.start()
    mail = await end_of(notification, user_id)
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
async def test_what_cannot_arrive_is_dropped(
    notification: Launched,
    users: FakeUserService,
    mail_server: FakeMailServer,
    email: str | None,
    template: Template,
    reason: str,
) -> None:
    user_id = users.add(email) if email else new_id()
    asked = command(user_id, template, about=new_id())
    await notification.send(asked)
    about = {"user_id": user_id, "cause_id": asked.cause_id, "template": template}
    assert await notification.sent() == [NotificationDropped(**about, reason=reason)]
    assert mail_server.received == []


async def test_a_domain_in_other_letters_is_written_as_the_mail_server_knows_it(
    notification: Launched, users: FakeUserService, mail_server: FakeMailServer
) -> None:
    await notification.send(command(users.add("ada@bücher.example")))
    (message,) = mail_server.received
    assert message["To"].addresses[0].domain == "xn--bcher-kva.example"


async def test_a_command_that_lacks_what_its_template_speaks_of_is_parked(
    notification: Launched, users: FakeUserService, mail_server: FakeMailServer
) -> None:
    ada, bob = users.add(), users.add()
    await notification.send(command(ada, Template.ORDER_REFUNDED, about=new_id(), currency="EUR"), command(bob))
    async with notification.as_staff() as staff:
        (parked,) = (await staff.get("/internal/parked")).json()
    assert parked["key"] == str(ada)
    assert "order_refunded needs amount_cents" in parked["reason"]
    assert (len(mail_server.to(ada)), len(mail_server.to(bob))) == (0, 1)


async def test_a_fault_of_a_template_holds_up_its_own_mails_alone(
    notification: Launched,
    users: FakeUserService,
    mail_server: FakeMailServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(cents: int, currency: str) -> str:
        raise KeyError("a fault")

    filters: dict[str, Callable[..., str]] = rendering._templates.filters
    ada, bob = users.add(), users.add()
    with monkeypatch.context() as patched:
        patched.setitem(filters, "money", broken)
        order = {"about": new_id(), "amount_cents": 1, "currency": "EUR"}
        await notification.send(command(ada, Template.ORDER_SHIPPED, **order), command(bob))
    assert (len(mail_server.to(ada)), len(mail_server.to(bob))) == (0, 1)
    assert "a letter cannot be written" in caplog.text
    assert (await end_of(notification, ada)).state == MailState.SENT  # it is mended
    assert isinstance(rendering._templates, Environment)


# Preferences.


async def test_who_unsubscribes_by_the_link_gets_no_more_advertising_but_all_else(
    notification: Launched, users: FakeUserService, mail_server: FakeMailServer
) -> None:
    user_id = users.add()
    await notification.send(command(user_id, Template.REVIEW_ASKED, about=new_id()))
    (message,) = mail_server.to(user_id)
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    link = message["List-Unsubscribe"].strip("<>")
    assert link.startswith("https://shop.example/api/v1/unsubscriptions/")
    async with notification.client() as anybody:
        answer = await anybody.post("/unsubscriptions", json={"token": link.rpartition("/")[2]})
    assert answer.status_code == 204
    await notification.send(command(user_id, Template.REVIEW_ASKED, about=new_id()), command(user_id))
    assert [it["Subject"] for it in mail_server.to(user_id)] == ["How do you like it?", "Welcome"]
    reasons = [it.reason for it in await notification.sent() if isinstance(it, NotificationDropped)]
    assert reasons == ["unsubscribed"]


async def test_a_link_is_on_the_wire_in_one_piece(
    notification: Launched, users: FakeUserService, mail_server: FakeMailServer
) -> None:
    user_id = users.add()
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
        jwt.encode({"alg": "HS256"}, {"sub": str(new_id())}, OctKey.import_key("somebody else's key")),
    ],
    ids=["no token", "empty", "another purpose", "another key"],
)
async def test_a_forged_link_is_refused(notification: Launched, forged: str) -> None:
    async with notification.client() as anybody:
        answer = await anybody.post("/unsubscriptions", json={"token": forged})
    assert (answer.status_code, answer.json()["code"]) == (422, "unsubscribe_token_invalid")
    assert await notification.rows(Preference) == []


async def test_preferences_are_read_and_changed_by_their_owner(notification: Launched) -> None:
    async with notification.as_customer() as ada, notification.as_customer() as bob, notification.client() as anybody:
        assert (await ada.get("/me/preferences")).json() == {"advertising": True}
        for wanted in (False, True, False):
            assert (await ada.put("/me/preferences", json={"advertising": wanted})).json() == {"advertising": wanted}
            assert (await ada.get("/me/preferences")).json() == {"advertising": wanted}
        assert (await bob.get("/me/preferences")).json() == {"advertising": True}
        answers: list[httpx.Response] = [
            await anybody.get("/me/preferences"),
            await ada.put("/me/preferences", json={}),
        ]
    assert [answer.status_code for answer in answers] == [401, 422]


# What goes away.


async def test_who_is_erased_is_forgotten_and_gets_nothing_more(
    notification: Launched, users: FakeUserService, mail_server: FakeMailServer
) -> None:
    ada, bob, erasure = users.add(), users.add(), new_id()
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


async def test_old_mails_go_away(
    launch: Launch, users: FakeUserService, mail_server: FakeMailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "DELETE_BATCH_SIZE", 2)
    notification = await launch(service, **settings_for(mail_server))
    young, *readers = [users.add() for _ in range(6)]
    await notification.send(*(command(user_id) for user_id in [young, *readers]))
    for user_id in readers:
        async with notification.instance.database.work() as work:
            for mail in await work.lock(Mail, user_id=[user_id]):
                mail.requested_at = work.now - timedelta(days=91)
    notification.instance.tasks.wake({"delete_old_mails": None})
    await notification.settled()
    assert {mail.user_id for mail in await notification.rows(Mail)} == {young}
