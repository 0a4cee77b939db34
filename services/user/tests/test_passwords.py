"""New passwords, with the current one or by mail: what they end, what is refused, and what stays secret."""

import asyncio
from base64 import urlsafe_b64encode
from datetime import timedelta
from typing import Any

import pytest

from chassis.database import new_id
from chassis.testing import Launched
from contracts.notification import Notify, Template
from user import resets
from user.models import PasswordReset, RefreshToken

from .conftest import PASSWORD, SignedIn, post, problem, refresh, reset_secret, sign_in, update_row

NEW = "battery staple"


async def redeem(user: Launched, secret: str, new_password: str = NEW) -> Any:
    return await post(user, "/password-resets/uses", {"secret": secret, "new_password": new_password})


async def request_reset(user: Launched, email: str) -> Any:
    return await post(user, "/password-resets", {"email": email})


async def reset_mails(user: Launched) -> list[Notify]:
    await user.settled()
    sent = await user.sent(Notify)
    return [it for it in sent if isinstance(it, Notify) and it.template is Template.PASSWORD_RESET]


async def test_a_new_password_ends_every_other_session(user: Launched, ada: SignedIn) -> None:
    secret = await reset_secret(user, ada.email)
    answer = await ada.client.put("/me/password", json={"password": PASSWORD, "new_password": NEW})
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert problem(await refresh(user, ada.refresh_token)) == (401, "refresh_token_refused")
    assert (await refresh(user, answer.json()["refresh_token"])).status_code == 200
    assert problem(await sign_in(user, ada.email)) == (401, "wrong_credentials")
    assert (await sign_in(user, ada.email, NEW)).status_code == 200
    assert problem(await redeem(user, secret, PASSWORD)) == (422, "reset_secret_refused")


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"password": "a guess", "new_password": NEW}, "wrong_password", "password"),
        ({"password": PASSWORD, "new_password": "short"}, "invalid_input", "new_password"),
        ({"password": PASSWORD, "new_password": "x" * 129}, "invalid_input", "new_password"),
        ({"new_password": NEW}, "invalid_input", "password"),
    ],
)
async def test_an_invalid_change_is_refused(
    user: Launched, ada: SignedIn, body: dict[str, str], code: str, field: str
) -> None:
    answer = await ada.client.put("/me/password", json=body)
    assert problem(answer) == (422, code)
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert (await refresh(user, ada.refresh_token)).status_code == 200


async def test_no_session_with_the_old_password_outlives_the_change(user: Launched, ada: SignedIn) -> None:
    _, *signed_in = await asyncio.gather(
        ada.client.put("/me/password", json={"password": PASSWORD, "new_password": NEW}),
        *[sign_in(user, ada.email) for _ in range(4)],
    )
    assert {it.status_code for it in signed_in} <= {200, 401, 409}
    assert len(await user.rows(RefreshToken)) == 1


async def test_a_password_is_reset_with_the_secret_from_the_mail(user: Launched, ada: SignedIn) -> None:
    answer = await request_reset(user, "ADA@example.org")
    (mail,) = await reset_mails(user)
    assert answer.status_code == 202
    assert mail == Notify(user_id=ada.id, cause_id=mail.cause_id, template=mail.template, about=mail.cause_id)
    path = f"/password-resets/{mail.about}/secret"
    assert problem(await ada.client.get(path)) == (403, "forbidden")
    async with user.as_service("notification") as notification:
        secret = (await notification.get(path)).json()["secret"]
        assert secret not in str(await user.rows(PasswordReset))
        used = await redeem(user, secret)
        assert (used.status_code, used.headers["cache-control"]) == (200, "no-store")
        assert problem(await notification.get(path)) == (404, "password_reset_not_found")
    assert problem(await refresh(user, ada.refresh_token)) == (401, "refresh_token_refused")
    assert (await refresh(user, used.json()["refresh_token"])).status_code == 200
    assert (await sign_in(user, ada.email, NEW)).status_code == 200
    assert problem(await redeem(user, secret)) == (422, "reset_secret_refused")


def forged(secret: str) -> str:
    return ("B" if secret[-1] == "A" else "A").join([secret[:-1], ""])


@pytest.mark.parametrize(
    "spoilt",
    [
        forged,
        lambda secret: secret + "=",
        lambda secret: secret[:22],
        lambda secret: "",
        lambda secret: "é" * 64,
        lambda secret: urlsafe_b64encode(new_id().bytes + bytes(32)).decode(),
    ],
    ids=["forged", "more", "id-alone", "empty", "no-base64", "made-up"],
)
async def test_a_secret_that_this_service_did_not_make_is_refused(user: Launched, ada: SignedIn, spoilt: Any) -> None:
    answer = await redeem(user, spoilt(await reset_secret(user, ada.email)))
    assert problem(answer) == (422, "reset_secret_refused")
    assert answer.json()["errors"][0]["field"] == "secret"
    assert (await sign_in(user, ada.email)).status_code == 200


async def test_a_secret_expires_after_an_hour_and_is_removed(user: Launched, ada: SignedIn) -> None:
    secret = await reset_secret(user, ada.email)
    (reset,) = await user.rows(PasswordReset)
    await update_row(user, reset, expires_at=reset.expires_at - timedelta(hours=1))
    assert problem(await redeem(user, secret)) == (422, "reset_secret_refused")
    assert await user.rows(PasswordReset) == []


async def test_a_secret_that_is_used_twice_at_once_sets_one_password(user: Launched, ada: SignedIn) -> None:
    secret, wanted = await reset_secret(user, ada.email), ["password of one", "password of two"]
    answers = await asyncio.gather(*[redeem(user, secret, it) for it in wanted])
    assert sorted(it.status_code for it in answers) == [200, 422]
    for answer, password in zip(answers, wanted, strict=True):
        assert ((await sign_in(user, ada.email, password)).status_code == 200) == (answer.status_code == 200)


async def test_a_used_secret_invalidates_the_others(user: Launched, ada: SignedIn) -> None:
    first, second = await reset_secret(user, ada.email), await reset_secret(user, ada.email)
    assert (await redeem(user, second)).status_code == 200
    assert problem(await redeem(user, first, PASSWORD)) == (422, "reset_secret_refused")


async def test_an_account_gets_three_reset_mails_an_hour(user: Launched, ada: SignedIn) -> None:
    answers = await asyncio.gather(*[request_reset(user, ada.email) for _ in range(6)])
    assert {it.status_code for it in answers} == {202}
    assert len(await reset_mails(user)) == 3
    for reset in await user.rows(PasswordReset):
        await update_row(user, reset, expires_at=reset.expires_at - timedelta(hours=1))
    await request_reset(user, ada.email)
    assert len(await reset_mails(user)) == 4


async def test_a_reset_request_makes_the_same_calls_and_answers_with_and_without_an_account(
    user: Launched, ada: SignedIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compares the names of database calls, not response times: it notices a branch that one of both does not take."""
    calls: dict[str, list[str]] = {}
    for email in (ada.email, "nobody@example.org"):
        made = calls[email] = list[str]()
        async with user.instance.database.work() as work:
            for name in ("lock", "fetch", "read", "execute", "add"):
                monkeypatch.setattr(work, name, recording(made, name, getattr(work, name)))
            await resets.request_reset(email, work)
    assert calls[ada.email] == calls["nobody@example.org"]
    assert {"lock", "fetch", "add"} <= {*calls[ada.email]}
    known, unknown = await request_reset(user, ada.email), await request_reset(user, "nobody@example.org")
    assert (known.status_code, known.content) == (unknown.status_code, unknown.content)
    assert {it.user_id for it in await reset_mails(user)} == {ada.id}


def recording(calls: list[str], name: str, method: Any) -> Any:
    def recorded(*arguments: Any, **named: Any) -> Any:
        calls.append(name)
        return method(*arguments, **named)

    return recorded
