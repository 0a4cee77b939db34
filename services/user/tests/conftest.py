"""A running user service, which verifies the tokens that it issues itself, and customers of it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
import pytest

from chassis.database import Table
from chassis.database.tables import mapping_of
from chassis.testing import Launch, Launched
from contracts.notification import Notify
from user.main import service

PASSWORD = "correct horse battery"
StartUser = Callable[..., Awaitable[Launched]]


@pytest.fixture
def start_user(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> StartUser:
    """`await start_user(LOGIN_FAILURES_PER_EMAIL=3)` starts the service with settings of its own."""

    async def start(**settings: Any) -> Launched:
        user = await launch(service, **settings)
        monkeypatch.setenv("USER_URL", user.url)
        return user

    return start


@pytest.fixture
async def user(start_user: StartUser) -> Launched:
    return await start_user()


@dataclass
class SignedIn:
    """A customer who has just signed in."""

    id: UUID
    email: str
    refresh_token: str
    client: httpx.AsyncClient


@pytest.fixture
async def ada(user: Launched) -> SignedIn:
    return await register_customer(user, "ada@example.org")


async def register_customer(user: Launched, email: str) -> SignedIn:
    account, tokens = await register(user, email), (await sign_in(user, email)).json()
    return SignedIn(UUID(account.json()["id"]), email, tokens["refresh_token"], user.client(tokens["access_token"]))


async def post(user: Launched, path: str, body: dict[str, Any]) -> httpx.Response:
    async with user.client() as client:
        return await client.post(path, json=body)


async def register(user: Launched, email: str, **other: Any) -> httpx.Response:
    return await post(user, "/accounts", {"email": email, "password": PASSWORD, "name": "Ada", **other})


async def sign_in(user: Launched, email: str, password: str = PASSWORD) -> httpx.Response:
    return await post(user, "/tokens", {"grant_type": "password", "email": email, "password": password})


async def refresh(user: Launched, token: str) -> httpx.Response:
    return await post(user, "/tokens", {"grant_type": "refresh_token", "refresh_token": token})


async def reset_secret(user: Launched, email: str) -> str:
    """Request a reset; returns the secret that the mail would hold."""
    await post(user, "/password-resets", {"email": email})
    await user.settled()
    (*_, mail) = [it for it in await user.sent(Notify) if isinstance(it, Notify)]
    async with user.as_service("notification") as notification:
        answer = await notification.get(f"/password-resets/{mail.about}/secret")
    return str(answer.json()["secret"])


def problem(answer: httpx.Response) -> tuple[int, str]:
    """The status and the code of a problem."""
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


async def update_row(user: Launched, row: Table, **values: Any) -> None:
    """Set columns of a row, to let time pass for it."""
    (key,) = mapping_of(type(row)).key
    async with user.instance.database.work() as work:
        (locked,) = await work.lock(type(row), **{key: [getattr(row, key)]})
        for name, value in values.items():
            setattr(locked, name, value)
    await user.settled()
