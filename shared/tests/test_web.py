"""The HTTP side over real requests: every error is a problem, and an answer is sent after the commit."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from joserfc.jwk import OKPKey

from chassis.calls.auth import service_token
from chassis.calls.client import DEADLINE_HEADER
from chassis.database import new_id
from chassis.testing import Launched, token
from ledger.models import Account

ME = new_id()
FOREIGN_KEY = OKPKey.generate_key("Ed25519", {"kid": "test"}, private=True)
UNSIGNED = (  # {"alg": "none", "kid": "test"}, and claims that would do
    "eyJhbGciOiJub25lIiwia2lkIjoidGVzdCJ9.eyJpc3MiOiJ1c2VyIiwic3ViIjoiMSIsInJvbGVzIjpbXSwiZXhwIjo5OTk5OTk5OTk5fQ."
)
BOOK = "/accounts/a/bookings"


@pytest.fixture
async def me(ledger: Launched) -> AsyncIterator[httpx.AsyncClient]:
    async with ledger.as_customer(ME) as client:
        yield client


def is_problem(answer: httpx.Response, status: int, code: str) -> bool:
    body = answer.json()
    assert (answer.status_code, body["status"], body["code"]) == (status, status, code)
    assert {"type", "title", "detail"} <= body.keys()
    return answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("method", "path", "request_", "status", "code"),
    [
        ("POST", BOOK, {"content": "{"}, 400, "invalid_json"),
        ("POST", BOOK, {"content": b'{"number": "\xff"}'}, 400, "invalid_json"),
        ("POST", BOOK, {"content": "[" * 100_000}, 400, "invalid_json"),
        ("POST", BOOK, {"content": ""}, 422, "invalid_input"),
        ("POST", BOOK, {"json": [1]}, 422, "invalid_input"),
        ("GET", "/nowhere", {}, 404, "not_found"),
        ("GET", "/accounts/nobody", {}, 404, "account_not_found"),
        ("GET", "/accounts/%00", {}, 422, "invalid_input"),
        ("DELETE", BOOK, {}, 405, "method_not_allowed"),
        ("POST", BOOK, {"json": {"number": 1, "text": "x" * 2**20}}, 413, "body_too_large"),
        ("GET", "/accounts/a/secret", {}, 403, "forbidden"),
        ("GET", "/accounts/a/slow", {"headers": {DEADLINE_HEADER: "50"}}, 504, "timed_out"),
        ("GET", "/accounts/a/slow", {"headers": {DEADLINE_HEADER: "0"}}, 504, "timed_out"),
        ("GET", "/accounts/a/stream?before=20", {"headers": {DEADLINE_HEADER: "50"}}, 504, "timed_out"),
    ],
)
async def test_an_error_is_a_problem_with_its_code(
    me: httpx.AsyncClient, ledger: Launched, method: str, path: str, request_: dict[str, Any], status: int, code: str
) -> None:
    if "content" in request_:
        request_ = {**request_, "headers": {"content-type": "application/json"}}
    assert is_problem(await me.request(method, path, **request_), status, code)
    assert await ledger.rows(Account) == []


async def test_a_stream_has_to_begin_in_time_and_may_last(me: httpx.AsyncClient) -> None:
    answer = await me.get("/accounts/a/stream?pauses=10", headers={DEADLINE_HEADER: "100"})
    assert answer.text == "".join(f"id: {number}\n\n" for number in range(10))


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"number": 1, "colour": "red"}, ["colour"]),
        ({}, ["number"]),
        ({"number": "one", "amount": 1_001}, ["number", "amount"]),
        ({"number": None}, ["number"]),
    ],
)
async def test_invalid_input_names_its_fields(me: httpx.AsyncClient, body: Any, fields: list[str]) -> None:
    answer = await me.post(BOOK, json=body)
    assert is_problem(answer, 422, "invalid_input")
    assert [it["field"] for it in answer.json()["errors"]] == fields
    assert all(it["code"] and it["detail"] for it in answer.json()["errors"])


async def test_a_body_in_chunks_is_cut_off_when_it_gets_too_large(me: httpx.AsyncClient, ledger: Launched) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b'{"number": 1, "text": "'
        for _ in range(300):
            yield b"x" * 4096
        yield b'"}'

    answer = await me.post(BOOK, content=chunks(), headers={"content-type": "application/json"})
    assert is_problem(answer, 413, "body_too_large")
    assert await ledger.rows(Account) == []


@pytest.mark.parametrize(
    "header",
    [
        None,
        "Bearer",
        "Basic YTpi",
        "Bearer x",
        "Bearer a.b.c",
        f"Bearer {UNSIGNED}",
        f"Bearer {token(ME, expires_in=-1)}",
        f"Bearer {token(ME, key=FOREIGN_KEY)}",
        f"Bearer {token(ME)[:-8]}AAAAAAAA",
        f"Bearer {service_token('x', 'another-key-of-at-least-32-bytes-length')}",
    ],
    ids=["none", "no token", "basic", "x", "dots", "unsigned", "expired", "foreign key", "torn", "other service's key"],
)
async def test_without_a_valid_token_nobody_is_known(ledger: Launched, header: str | None) -> None:
    async with ledger.client() as client:
        answer = await client.post(BOOK, json={"number": 1}, headers={"authorization": header} if header else {})
        assert is_problem(answer, 401, "unauthenticated")
        answer = await client.post(BOOK, json={"number": 1}, headers={"authorization": f"bearer {token(ME)}"})
        assert answer.status_code == 201


async def test_staff_and_services_pass_where_customers_do_not(ledger: Launched) -> None:
    for client, status in ((ledger.as_customer(), 403), (ledger.as_staff(), 500), (ledger.as_service(), 500)):
        async with client:
            assert (await client.get("/accounts/a/secret")).status_code == status


async def test_what_is_ours_to_mend_is_logged_and_not_told(ledger: Launched, caplog: pytest.LogCaptureFixture) -> None:
    async with ledger.as_staff() as staff:
        answer = await staff.get("/accounts/a/secret")
    assert is_problem(answer, 500, "internal")
    assert "4711" not in answer.text
    (said,) = [it for it in caplog.records if it.exc_info and "4711" in str(it.exc_info[1])]
    assert said.levelname == "ERROR"


async def test_while_the_database_is_away_requests_are_told_to_come_back(
    me: httpx.AsyncClient, ledger: Launched, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away() -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr(ledger.instance.database, "acquire", away)
    answer = await me.get("/accounts/a")
    assert is_problem(answer, 503, "unavailable")
    assert answer.headers["retry-after"] == "1"
    monkeypatch.undo()
    assert is_problem(await me.get("/accounts/a"), 404, "account_not_found")


async def test_two_that_are_in_each_others_way_are_told_so(me: httpx.AsyncClient, ledger: Launched) -> None:
    answers = await asyncio.gather(*(me.post("/accounts", json={"number": 1, "pause": 0.1}) for _ in range(5)))
    created, *others = sorted(answers, key=lambda answer: answer.status_code)
    assert created.status_code == 201
    assert all(is_problem(answer, 409, "conflict") for answer in others)
    assert len(await ledger.rows(Account)) == 1


async def test_an_answer_is_sent_after_the_commit(me: httpx.AsyncClient, ledger: Launched) -> None:
    """The database refuses a debt only at the commit; the route had finished with a 201."""
    assert is_problem(await me.post(BOOK, json={"number": 1, "amount": -1}), 500, "internal")
    assert (await me.post(BOOK, json={"number": 2})).status_code == 201
    assert [account.history for account in await ledger.rows(Account)] == [[2]]


async def test_a_timed_out_request_leaves_nothing(me: httpx.AsyncClient, ledger: Launched) -> None:
    answer = await me.post(BOOK, json={"number": 1, "pause": 5}, headers={DEADLINE_HEADER: "100"})
    assert is_problem(answer, 504, "timed_out")
    assert (await me.post(BOOK, json={"number": 2})).status_code == 201  # its lock is gone too
    assert [account.history for account in await ledger.rows(Account)] == [[2]]


# Idempotency keys


def keyed(key: str) -> dict[str, str]:
    return {"idempotency-key": key}


@pytest.mark.parametrize("path", [BOOK, "/accounts"])
async def test_a_repeated_request_is_answered_as_the_first(me: httpx.AsyncClient, ledger: Launched, path: str) -> None:
    first, *others = [await me.post(path, json={"number": 1}, headers=keyed("k")) for _ in range(3)]
    assert first.status_code == 201
    for answer in others:
        assert (answer.status_code, answer.content) == (first.status_code, first.content)
        for name in ("location", "content-type"):
            assert answer.headers.get(name) == first.headers.get(name)
    assert len(await ledger.rows(Account)) == 1
    assert (await ledger.rows(Account))[0].history in ([1], [])


@pytest.mark.parametrize("path", [BOOK, "/accounts"])
@pytest.mark.parametrize("pause", [0, 0.1])
async def test_twenty_at_once_with_one_key_have_one_effect(
    me: httpx.AsyncClient, ledger: Launched, path: str, pause: float
) -> None:
    body = {"number": 1, "pause": pause}
    answers = await asyncio.gather(*(me.post(path, json=body, headers=keyed("k")) for _ in range(20)))
    assert {(answer.status_code, answer.content) for answer in answers} == {(201, answers[0].content)}
    assert [account.balance for account in await ledger.rows(Account)] == [1 if path == BOOK else 0]


@pytest.mark.parametrize(("path", "body"), [(BOOK, {"number": 2}), ("/accounts/b/bookings", {"number": 1})])
async def test_a_key_is_for_one_request(me: httpx.AsyncClient, ledger: Launched, path: str, body: Any) -> None:
    await me.post(BOOK, json={"number": 1}, headers=keyed("k"))
    answer = await me.post(path, json=body, headers=keyed("k"))
    assert is_problem(answer, 409, "idempotency_key_reused")
    assert [account.history for account in await ledger.rows(Account)] == [[1]]


async def test_a_second_request_does_not_wait_long_for_the_first(me: httpx.AsyncClient) -> None:
    slow = asyncio.create_task(me.post(BOOK, json={"number": 1, "pause": 2}, headers=keyed("k")))
    await asyncio.sleep(0.3)
    answer = await me.post(BOOK, json={"number": 1, "pause": 2}, headers=keyed("k"))
    assert is_problem(answer, 409, "in_progress")
    assert answer.headers["retry-after"] == "1"
    assert (await slow).status_code == 201


async def test_the_key_of_another_caller_is_another_key(me: httpx.AsyncClient, ledger: Launched) -> None:
    async with ledger.as_customer() as other:
        for client in (me, other):
            assert (await client.post(BOOK, json={"number": 1}, headers=keyed("k"))).status_code == 201
    assert [account.history for account in await ledger.rows(Account)] == [[1, 1]]


@pytest.mark.parametrize(
    ("bad", "status"), [({"number": "one"}, 422), ({"number": 1, "amount": -5}, 500), ({"number": 1, "pause": 9}, 504)]
)
async def test_a_request_that_failed_keeps_nothing_under_its_key(
    me: httpx.AsyncClient, ledger: Launched, bad: Any, status: int
) -> None:
    headers = {**keyed("k"), DEADLINE_HEADER: "500"}
    assert (await me.post(BOOK, json=bad, headers=headers)).status_code == status
    assert (await me.post(BOOK, json={"number": 2}, headers=headers)).status_code == 201
    assert [account.history for account in await ledger.rows(Account)] == [[2]]


async def test_a_key_needs_a_caller(ledger: Launched) -> None:
    async with ledger.client() as client:
        answer = await client.post("/accounts/a/commands", headers=keyed("k"))
    assert is_problem(answer, 401, "unauthenticated")


# What every service serves


async def test_every_service_tells_how_it_is(ledger: Launched) -> None:
    async with ledger.client() as client:
        assert (await client.get("/livez")).json() == {"alive": True}
        assert (await client.get("/readyz")).json() == {"ready": True, "waiting_for": {}}
        await client.get("/accounts/nobody")
        counted = (await client.get("/metrics")).text
        paths = (await client.get("/docs/internal.json")).json()["paths"]
    assert 'http_request_seconds_count{method="GET",route="/accounts/{id}",service="ledger",status="404"}' in counted
    assert BOOK.replace("/a/", "/{id}/") in paths
    assert not any(path.startswith("/internal") for path in paths)


async def test_without_the_keys_of_the_issuer_only_services_are_known(
    ledger: Launched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keys are asked for when they are needed, so an issuer that comes later is no trouble."""
    with monkeypatch.context() as patch:
        patch.setenv("USER_URL", "http://127.0.0.1:9")
        async with ledger.as_customer() as customer, ledger.as_service() as other:
            assert is_problem(await customer.post(BOOK, json={"number": 1}), 503, "unavailable")
            assert (await other.post(BOOK, json={"number": 1})).status_code == 201
    async with ledger.as_customer() as customer:
        assert (await customer.post(BOOK, json={"number": 2})).status_code == 201
