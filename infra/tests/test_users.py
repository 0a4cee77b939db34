"""`users grant`, `revoke` and `rotate-keys` against a real user service behind a real Envoy."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import gateway
from chassis.testing import SERVICE_KEY, Launch
from cli import app
from gateway.exposed import openapi
from local import state
from local.envoy import Envoy
from local.server import free_port
from user.main import service

MAIL = "ada@example.org"


@pytest.fixture
async def system(launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """A running system of one service, as `state.running()` tells of it, and Ada's account in it."""
    user = await launch(service)
    monkeypatch.setenv("USER_URL", user.url)
    ports = gateway.Ports(*[free_port() for _ in range(4)])
    parts = [gateway.ExposedService.of("user", openapi(service))]
    config = gateway.build_config(ports, {"user": user.url}, parts=parts, service_key=SERVICE_KEY)
    urls = {"internal": f"http://127.0.0.1:{ports.internal}"}
    told = state.RunningSystem(os.getpid(), None, "memory", urls, SERVICE_KEY, {})  # type: ignore[arg-type]
    monkeypatch.setattr(state, "running", lambda: told)
    async with user.client() as client:
        await client.post("/accounts", json={"email": MAIL, "password": "correct horse", "name": "Ada"})
    async with Envoy(tmp_path, ports.admin, config=config):
        yield


async def command(*arguments: str) -> Result:
    return await asyncio.to_thread(lambda: CliRunner().invoke(app, ["users", *arguments]))


@pytest.mark.usefixtures("system")
async def test_a_role_is_given_and_taken_away() -> None:
    given = await command("grant", "Ada@example.org", "operator")
    assert (given.exit_code, given.stdout) == (0, "ada@example.org is customer, operator\n")
    taken = await command("revoke", MAIL, "operator", "--json")
    assert (taken.exit_code, json.loads(taken.stdout)["roles"]) == (0, ["customer"])


@pytest.mark.usefixtures("system")
async def test_a_rotation_is_asked_for_once_until_the_new_key_signs() -> None:
    rotated, again = await command("rotate-keys"), await command("rotate-keys", "--json")
    key = json.loads(again.stdout)
    assert (again.exit_code, key["retired_at"]) == (0, None)
    assert (rotated.exit_code, rotated.stdout) == (0, f"{key['kid']} signs from {key['signs_from']}\n")


@pytest.mark.usefixtures("system")
async def test_an_unknown_account_is_one_clear_line() -> None:
    refused = await command("grant", "bob@example.org", "operator")
    assert (refused.exit_code, refused.stdout) == (1, "")
    (line,) = refused.stderr.splitlines()
    assert "There is no such account." in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("grant", MAIL, "operator"), "nothing runs"), (("grant", MAIL, "king"), "'king'"), (("grant", MAIL), "role")],
)
async def test_what_cannot_be_done_is_said(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.setattr(state, "running", lambda: None)
    refused = await command(*arguments)
    assert refused.exit_code in (1, 2)
    assert said in refused.stderr
