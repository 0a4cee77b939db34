"""`users grant`, `revoke` and `rotate-keys` with a real user service behind a real Envoy."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from chassis.testing import Launch
from cli import app
from local import state
from user.main import service

from .fake_system import running_system

MAIL = "ada@example.org"


@pytest.fixture
async def system(launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """A running system with the user service alone, and Ada's account in it."""
    user = await launch(service)
    monkeypatch.setenv("USER_URL", user.url)
    async with user.client() as client:
        await client.post("/accounts", json={"email": MAIL, "password": "correct horse", "name": "Ada"})
    async with running_system(service, {"user": user.url}, tmp_path, monkeypatch):
        yield


async def command(*arguments: str) -> Result:
    return await asyncio.to_thread(lambda: CliRunner().invoke(app, ["users", *arguments]))


@pytest.mark.usefixtures("system")
async def test_a_role_is_granted_and_revoked() -> None:
    granted = await command("grant", "Ada@example.org", "operator")
    assert (granted.exit_code, granted.stdout) == (0, "ada@example.org: customer, operator\n")
    revoked = await command("revoke", MAIL, "operator", "--json")
    assert (revoked.exit_code, json.loads(revoked.stdout)["roles"]) == (0, ["customer"])


@pytest.mark.usefixtures("system")
async def test_a_second_rotation_waits_until_the_new_key_signs() -> None:
    rotated, again = await command("rotate-keys"), await command("rotate-keys", "--json")
    key = json.loads(again.stdout)
    assert (again.exit_code, key["retired_at"]) == (0, None)
    assert (rotated.exit_code, rotated.stdout) == (0, f"{key['kid']} signs from {key['signs_from']}\n")


@pytest.mark.usefixtures("system")
async def test_an_unknown_account_is_one_clear_line() -> None:
    refused = await command("grant", "bob@example.org", "operator")
    assert (refused.exit_code, refused.stdout) == (1, "")
    (line,) = refused.stderr.splitlines()
    assert "There is no account" in line


@pytest.mark.parametrize(
    ("arguments", "error"),
    [(("grant", MAIL, "operator"), "nothing runs"), (("grant", MAIL, "king"), "'king'"), (("grant", MAIL), "role")],
)
async def test_a_command_that_cannot_be_carried_out_says_why(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], error: str
) -> None:
    monkeypatch.setattr(state, "running_system", lambda: None)
    refused = await command(*arguments)
    assert refused.exit_code in (1, 2)
    assert error in refused.stderr
