"""The erasure of a person: what is removed at once, which services report, and that messages carry nothing personal."""

import asyncio
import logging
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from chassis.database import Table, new_id
from chassis.testing import Launched
from contracts.user import ReportErasure, UserErased
from user.models import Account, Address, Erasure, LoginThrottle, PasswordReset, RefreshToken

from .conftest import (
    PASSWORD,
    SignedIn,
    StartUser,
    post,
    problem,
    refresh,
    register,
    register_customer,
    reset_secret,
    sign_in,
    update_row,
)

HOME = {"name": "Zaphod", "street": "Elm Road 42", "postcode": "10115", "city": "Berlin", "country": "DE"}
PERSONAL: list[type[Table]] = [Account, Address, RefreshToken, PasswordReset, LoginThrottle]


async def request_erasure(ada: SignedIn, password: str = PASSWORD) -> Any:
    return await ada.client.post("/me/erasure", json={"password": password})


def report_of(erasure: dict[str, Any], ada: SignedIn, service: str, rows: int = 2) -> ReportErasure:
    return ReportErasure(user_id=ada.id, erasure_id=UUID(erasure["id"]), service=service, rows=rows)


async def get_erasure(user: Launched, erasure: dict[str, Any]) -> Any:
    async with user.client() as anonymous:
        return (await anonymous.get(f"/erasures/{erasure['id']}")).json()


async def open_erasures(user: Launched) -> list[str]:
    async with user.as_service() as operator:
        return [it["id"] for it in (await operator.get("/erasures")).json()]


async def test_an_account_is_removed_at_once_and_its_mail_address_is_free(user: Launched, ada: SignedIn) -> None:
    await ada.client.post("/me/addresses", json=HOME)
    await reset_secret(user, ada.email)
    answer = await request_erasure(ada)
    erasure = answer.json()
    assert (answer.status_code, erasure["completed_at"]) == (202, None)
    assert erasure["waiting_for"] == ["aggregator", "notification", "order"]
    assert [(it["service"], it["rows"]) for it in erasure["reports"]] == [("user", 4)]
    assert [await user.rows(table) for table in PERSONAL] == [[]] * len(PERSONAL)
    assert UUID(erasure["id"]).version == 4  # fully random: it cannot be guessed from the time
    assert await get_erasure(user, erasure) == erasure
    await user.settled()
    assert await user.sent(UserErased) == [UserErased(user_id=ada.id, erasure_id=erasure["id"])]
    assert (await register(user, ada.email)).status_code == 201


async def test_an_access_token_of_an_erased_account_finds_no_account(user: Launched, ada: SignedIn) -> None:
    erasure = (await request_erasure(ada)).json()
    assert (await request_erasure(ada, "any password")).json() == erasure  # a repeated request
    assert problem(await refresh(user, ada.refresh_token)) == (401, "refresh_token_refused")
    assert problem(await sign_in(user, ada.email)) == (401, "wrong_credentials")
    new = {"password": PASSWORD, "new_password": PASSWORD}
    answers = [
        await ada.client.get("/me"),
        await ada.client.post("/me/addresses", json=HOME),
        await ada.client.put("/me/password", json=new),
    ]
    async with user.as_service() as notification:
        answers.append(await notification.get(f"/accounts/{ada.id}/contact"))
    assert [problem(it) for it in answers] == [(404, "account_not_found")] * 4
    assert (await ada.client.get("/me/addresses")).json() == []


async def test_an_erasure_is_complete_when_all_services_have_reported(user: Launched, ada: SignedIn) -> None:
    erasure = (await request_erasure(ada)).json()
    assert await open_erasures(user) == [erasure["id"]]
    await user.send(
        report_of(erasure, ada, "order"), report_of(erasure, ada, "order", 0), report_of(erasure, ada, "shipping")
    )
    assert (await get_erasure(user, erasure))["waiting_for"] == ["aggregator", "notification"]
    await user.send(report_of(erasure, ada, "notification"), report_of(erasure, ada, "aggregator"))
    done = await get_erasure(user, erasure)
    assert (done["completed_at"] is None, done["waiting_for"], await open_erasures(user)) == (False, [], [])
    assert [(it["service"], it["rows"]) for it in done["reports"]] == [
        ("user", 2),
        ("order", 2),
        ("shipping", 2),
        ("notification", 2),
        ("aggregator", 2),
    ]
    await user.send(report_of(erasure, ada, "order"))
    assert await get_erasure(user, erasure) == done


async def test_the_services_that_must_report_are_a_setting(
    start_user: StartUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USER_ERASURE_SERVICES", '["payment"]')
    user = await start_user()
    ada = await register_customer(user, "ada@example.org")
    erasure = (await request_erasure(ada)).json()
    await user.send(report_of(erasure, ada, "payment"))
    assert (await get_erasure(user, erasure))["completed_at"] is not None


async def test_an_erasure_is_sent_again_while_a_report_is_missing_and_removed_after_its_retention(
    user: Launched, ada: SignedIn, caplog: pytest.LogCaptureFixture
) -> None:
    erasure = (await request_erasure(ada)).json()
    await user.send(report_of(erasure, ada, "order"))
    (row,) = await user.rows(Erasure)
    with caplog.at_level(logging.WARNING):
        await update_row(user, row, due_at=row.due_at - timedelta(days=1))
    assert await user.sent(UserErased) == [UserErased(user_id=ada.id, erasure_id=erasure["id"])] * 2
    (warning,) = [it for it in caplog.records if it.name == "user.due"]
    assert vars(warning)["waiting_for"] == ["aggregator", "notification"]
    await user.send(report_of(erasure, ada, "notification"), report_of(erasure, ada, "aggregator"))
    (row,) = await user.rows(Erasure)
    await update_row(user, row, due_at=row.due_at - timedelta(days=365))
    assert await user.rows(Erasure) == []
    await user.send(report_of(erasure, ada, "order"))
    assert await user.rows(Erasure) == []
    assert len(await user.sent(UserErased)) == 2


async def test_a_wrong_password_erases_nothing(user: Launched, ada: SignedIn) -> None:
    assert problem(await request_erasure(ada, "a guess")) == (422, "wrong_password")
    assert (await ada.client.get("/me")).status_code == 200
    assert await user.rows(Erasure) == []


async def test_staff_cannot_be_erased(user: Launched, ada: SignedIn) -> None:
    async with user.as_service() as operator:
        role = {"email": ada.email, "role": "staff"}
        await operator.post("/role-grants", json=role)
        assert problem(await request_erasure(ada)) == (409, "has_other_roles")
        await operator.post("/role-revocations", json=role)
    assert (await request_erasure(ada)).status_code == 202


async def test_an_unknown_erasure_is_not_found(ada: SignedIn) -> None:
    for unknown in (new_id(), uuid4()):
        assert problem(await ada.client.get(f"/erasures/{unknown}")) == (404, "erasure_not_found")


async def test_concurrent_requests_leave_no_personal_data(user: Launched, ada: SignedIn) -> None:
    first, second, *others = await asyncio.gather(
        request_erasure(ada),
        request_erasure(ada),
        *[ada.client.post("/me/addresses", json=HOME) for _ in range(3)],
        refresh(user, ada.refresh_token),
        sign_in(user, ada.email),
        ada.client.put("/me/password", json={"password": PASSWORD, "new_password": PASSWORD}),
        post(user, "/password-resets", {"email": ada.email}),
    )
    assert {it.status_code for it in others} <= {200, 201, 202, 401, 404, 409}
    assert {first.status_code, second.status_code} <= {202, 404, 409}
    assert (await request_erasure(ada)).status_code == 202
    left = [row for table in PERSONAL for row in await user.rows(table)]
    assert [row for row in left if not isinstance(row, PasswordReset) or row.account_id is not None] == []
    assert len(await user.rows(Erasure)) == 1


async def test_messages_carry_no_personal_data(user: Launched, ada: SignedIn) -> None:
    await ada.client.post("/me/addresses", json=HOME)
    secret = await reset_secret(user, ada.email)
    await post(user, "/password-resets/uses", {"secret": secret, "new_password": PASSWORD})
    erasure = (await request_erasure(ada)).json()
    await user.send(report_of(erasure, ada, "order"))
    async with user.instance.database.work() as work:
        published = str([tuple(row) for row in await work.read("SELECT * FROM outbox_history")])
    assert str(ada.id) in published
    for personal in (ada.email, "Ada", HOME["name"], HOME["street"], HOME["city"], PASSWORD, secret, ada.refresh_token):
        assert personal not in published
