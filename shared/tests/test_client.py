"""The REST client against a real service: its own instance plays the peer."""

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from chassis.calls import Api, Layer, Operation
from chassis.calls import client as calling
from chassis.calls.client import DEADLINE_HEADER
from chassis.database import new_id
from chassis.errors import Problem
from chassis.process.ports import reserve_port
from chassis.service import Runtime, Service
from chassis.testing import Launched, token
from ledger.messages import above, api, peer
from ledger.routes import tries


@pytest.fixture(autouse=True)
def _no_tries() -> Iterator[None]:
    tries.clear()
    yield
    calling.deadline.set(None)
    calling.authorization.set(None)


@pytest.fixture
async def to_peer(ledger: Launched, monkeypatch: pytest.MonkeyPatch) -> Runtime[Any]:
    monkeypatch.setenv("PEER_URL", ledger.url)
    return ledger.instance.runtime


@pytest.fixture
async def me(ledger: Launched) -> AsyncIterator[httpx.AsyncClient]:
    async with ledger.as_customer() as client:
        yield client


@pytest.mark.parametrize("layer", list(Layer))
def test_a_service_may_declare_calls_on_its_layer_and_down(layer: Layer) -> None:
    for below in Layer:
        if below <= layer:
            assert Service(Api("x", layer), calls=[Api("y", below)]).calls
        else:
            with pytest.raises(ValueError, match="go down, not up"):
                Service(Api("x", layer), calls=[Api("y", below)])


@pytest.mark.parametrize("undeclared", [above, api])
async def test_a_call_that_is_not_declared_is_refused(ledger: Launched, undeclared: Api) -> None:
    with pytest.raises(ValueError, match=f"does not declare that it calls {undeclared.name}"):
        await ledger.instance.runtime.call(undeclared.get("/accounts", Any))


IDEMPOTENT = {"Idempotency-Key": "k"}
GET_HEADERS = peer.get("/accounts/{id}/headers", dict[str, str], query=("failures",))
POST_HEADERS = Operation[dict[str, str]](peer, "POST", "/accounts/{id}/headers", dict[str, str], query=("failures",))


@pytest.mark.parametrize(
    ("method", "headers", "failures", "answers"),
    [
        ("GET", {}, 0, True),
        ("GET", {}, 2, True),
        ("GET", {}, 3, False),
        ("POST", {}, 0, True),
        ("POST", {}, 1, False),
        ("POST", IDEMPOTENT, 2, True),
        ("POST", IDEMPOTENT, 3, False),
    ],
)
async def test_only_what_is_safe_is_tried_again(
    to_peer: Runtime[Any], method: str, headers: dict[str, str], failures: int, answers: bool
) -> None:
    calling.authorization.set(f"Bearer {token(new_id())}")
    operation = GET_HEADERS if method == "GET" else POST_HEADERS
    call = to_peer.call(operation, id="a", headers=headers, query={"failures": failures})
    if answers:
        assert (await call)["host"]
    else:
        with pytest.raises(Problem) as caught:
            await call
        assert (caught.value.status, caught.value.code) == (503, "unavailable")
    safe = method == "GET" or headers
    assert tries["a"] == (min(failures + 1, 3) if safe else 1)


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [("", 404, "account_not_found"), ("/secret", 401, "unauthenticated"), ("/nowhere", 404, "not_found")],
)
async def test_a_peers_problem_comes_through(
    me: httpx.AsyncClient, to_peer: Runtime[Any], path: str, status: int, code: str
) -> None:
    del me.headers["authorization"]
    answer = await me.get("/accounts/a/through", params={"path": path})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    if code == "account_not_found":
        assert answer.json()["errors"] == [{"field": "id", "code": code, "detail": "There is no such account."}]


async def test_what_a_peer_must_mend_is_not_told_further(ledger: Launched, to_peer: Runtime[Any]) -> None:
    async with ledger.as_staff() as staff:
        answer = await staff.get("/accounts/a/through", params={"path": "/secret"})
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


@pytest.mark.parametrize("urls", ["", "http://127.0.0.1:{free}"])
async def test_a_peer_that_is_away_is_unavailable(
    me: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, urls: str
) -> None:
    monkeypatch.setenv("PEER_URL", urls.format(free=reserve_port()))
    answer = await me.get("/accounts/a/through", params={"path": ""})
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer.headers["retry-after"] == "1"


async def test_one_dead_instance_of_several_is_passed_over(
    ledger: Launched, to_peer: Runtime[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PEER_URL", f"http://127.0.0.1:{reserve_port()},{ledger.url}")
    for _ in range(4):
        assert (await to_peer.call(GET_HEADERS, id="a"))["host"]


async def test_token_request_id_and_trace_are_passed_on(me: httpx.AsyncClient, to_peer: Runtime[Any]) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
    answer = await me.get(
        "/accounts/a/through", params={"path": "/headers"}, headers={"x-request-id": "r1", "traceparent": trace}
    )
    got = answer.json()
    assert (got["authorization"], got["x-request-id"]) == (me.headers["authorization"], "r1")
    assert got["traceparent"].split("-")[1] == trace.split("-")[1]


async def test_a_service_can_speak_for_itself(ledger: Launched, me: httpx.AsyncClient, to_peer: Runtime[Any]) -> None:
    sent = (await me.get("/accounts/a/through?path=/headers&as_service=true")).json()["authorization"]
    assert sent != me.headers["authorization"]
    known = await ledger.instance.runtime.token_verifier.verify(sent.removeprefix("Bearer "))
    assert (known.subject, set(known.roles)) == ("ledger", {"service"})


async def test_a_deadline_travels_and_shrinks(me: httpx.AsyncClient, to_peer: Runtime[Any]) -> None:
    async def left(path: str) -> int:
        answer = await me.get("/accounts/a/through", params={"path": path}, headers={DEADLINE_HEADER: "5000"})
        return int(answer.json()[DEADLINE_HEADER])

    once, twice = await left("/headers"), await left("/through?path=/headers")
    assert 3_000 < once <= 5_000
    assert 3_000 < twice < 5_000


@pytest.mark.parametrize("peers", [1, 3])
async def test_a_chain_of_calls_ends_with_its_deadline(
    me: httpx.AsyncClient, to_peer: Runtime[Any], peers: int
) -> None:
    started = time.monotonic()
    answer = await me.get("/accounts/a/slow", params={"peers": peers}, headers={DEADLINE_HEADER: "400"})
    assert (answer.status_code, answer.json()["code"]) == (504, "timed_out")
    assert time.monotonic() - started < 1.5


async def test_a_deadline_ends_the_retries_too(to_peer: Runtime[Any]) -> None:
    calling.deadline.set(time.monotonic() + 0.02)
    with pytest.raises(Problem) as caught:
        await to_peer.call(GET_HEADERS, id="a", query={"failures": 9})
    assert caught.value.status in (503, 504)
    assert tries.get("a", 0) < 3


async def test_answers_become_what_the_caller_wants(to_peer: Runtime[Any]) -> None:
    answer = await to_peer.call(GET_HEADERS, id="a")
    assert answer["host"]


async def test_a_parameter_that_the_operation_does_not_declare_is_refused(to_peer: Runtime[Any]) -> None:
    with pytest.raises(TypeError, match="declares no query tries"):
        await to_peer.call(GET_HEADERS, id="a", query={"tries": 1})


async def test_a_parameter_of_the_path_stays_one_segment(to_peer: Runtime[Any]) -> None:
    calling.authorization.set(f"Bearer {token(new_id())}")
    with pytest.raises(Problem, match="not_found"):
        await to_peer.call(GET_HEADERS, id="a/headers?")
