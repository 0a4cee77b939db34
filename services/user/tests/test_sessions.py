"""Sign-out, and the limits of sign-in: the login throttle and the hashing slots."""

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta

import httpx
import pytest

from chassis.testing import Launched
from user import passwords
from user.models import LoginThrottle, RefreshToken

from .conftest import (
    PASSWORD,
    SignedIn,
    StartUser,
    post,
    problem,
    refresh,
    register,
    reset_secret,
    sign_in,
    update_row,
)

LIMIT = 3


@pytest.fixture
async def user(start_user: StartUser) -> Launched:
    return await start_user(LOGIN_FAILURES_PER_EMAIL=LIMIT)


async def sign_out(user: Launched, token: str) -> httpx.Response:
    return await post(user, "/tokens/revocation", {"token": token})


async def test_signing_out_ends_this_session_and_no_other(user: Launched, ada: SignedIn) -> None:
    other = (await sign_in(user, ada.email)).json()["refresh_token"]
    for _ in range(2):  # a client that got no answer repeats the request
        assert (await sign_out(user, ada.refresh_token)).status_code == 204
    assert problem(await refresh(user, ada.refresh_token)) == (401, "refresh_token_refused")
    assert (await refresh(user, other)).status_code == 200


async def test_a_used_token_signs_out_too_and_an_unknown_one_is_no_error(user: Launched, ada: SignedIn) -> None:
    second = (await refresh(user, ada.refresh_token)).json()["refresh_token"]
    assert (await sign_out(user, "unknown")).status_code == 204
    assert (await sign_out(user, ada.refresh_token)).status_code == 204
    assert problem(await refresh(user, second)) == (401, "refresh_token_refused")


async def test_a_session_that_is_signed_out_while_it_is_refreshed_ends(user: Launched, ada: SignedIn) -> None:
    await asyncio.gather(refresh(user, ada.refresh_token), sign_out(user, ada.refresh_token))
    assert await user.rows(RefreshToken) == []


@pytest.mark.parametrize("email", ["ada@example.org", "nobody@example.org"])
async def test_concurrent_wrong_passwords_are_throttled_at_the_limit(user: Launched, ada: SignedIn, email: str) -> None:
    answers = [problem(it) for it in await asyncio.gather(*[sign_in(user, email, "a guess") for _ in range(LIMIT + 4)])]
    assert answers.count((401, "wrong_credentials")) == LIMIT
    assert answers.count((429, "too_many_wrong_passwords")) == 4
    answer = await sign_in(user, email)
    assert problem(answer) == (429, "too_many_wrong_passwords")
    assert 0 < int(answer.headers["retry-after"]) <= 15 * 60
    assert email not in str(await user.rows(LoginThrottle))


async def fail_to_sign_in(user: Launched, email: str, times: int = LIMIT) -> None:
    for _ in range(times):
        assert (await sign_in(user, email, "a guess")).status_code == 401


async def test_the_throttle_ends_with_its_window(user: Launched, ada: SignedIn) -> None:
    await fail_to_sign_in(user, ada.email)
    (throttle,) = await user.rows(LoginThrottle)
    await update_row(user, throttle, window_ends_at=throttle.window_ends_at - timedelta(minutes=15))
    assert await user.rows(LoginThrottle) == []
    assert (await sign_in(user, ada.email)).status_code == 200


async def test_the_right_password_clears_the_count(user: Launched, ada: SignedIn) -> None:
    for _ in range(2):
        await fail_to_sign_in(user, ada.email, LIMIT - 1)
        assert (await sign_in(user, ada.email)).status_code == 200


async def test_a_throttled_user_keeps_the_session_and_gets_in_by_a_reset(user: Launched, ada: SignedIn) -> None:
    secret = await reset_secret(user, ada.email)
    await fail_to_sign_in(user, ada.email)
    assert (await refresh(user, ada.refresh_token)).status_code == 200
    reset = await post(user, "/password-resets/uses", {"secret": secret, "new_password": "battery staple"})
    assert reset.status_code == 200
    assert (await sign_in(user, ada.email, "battery staple")).status_code == 200


async def test_a_stolen_access_token_does_not_avoid_the_throttle(user: Launched, ada: SignedIn) -> None:
    answers = [
        await ada.client.put("/me/password", json={"password": "a guess", "new_password": PASSWORD})
        for _ in range(LIMIT + 1)
    ]
    assert [it.status_code for it in answers] == [422] * LIMIT + [429]
    assert (await sign_in(user, ada.email)).status_code == 429


async def test_sign_in_and_registration_are_refused_while_no_hashing_slot_is_free(
    user: Launched, ada: SignedIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "SLOT_TIMEOUT_SECONDS", 1)
    async with AsyncExitStack() as slots:
        for _ in range(passwords.HASHING_SLOTS):
            await slots.enter_async_context(passwords.hashing_slot())
        answers = await asyncio.gather(register(user, "bob@example.org"), sign_in(user, ada.email))
    assert [problem(answer) for answer in answers] == [(503, "sign_in_overloaded")] * 2
    assert [answer.headers["retry-after"] for answer in answers] == ["1", "1"]
    assert (await register(user, "bob@example.org")).status_code == 201
    assert (await sign_in(user, ada.email)).status_code == 200
