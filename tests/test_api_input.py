"""Headers and texts that no client should send are refused by name, and never fail in a service."""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from chassis.calls.auth import service_token
from chassis.database import new_id
from chassis.errors import NotFound
from chassis.service import Service, installed, installed_names
from chassis.testing import SERVICE_KEY, Launch, Launched, token
from chassis.web.openapi import audiences_of, document
from chassis.web.problems import as_json

SURROGATE = "\ud800"  # half of a character: JSON can write it, UTF-8 cannot
JSON = {"content-type": "application/json"}
NOT_ASCII = "é".encode("latin-1")
HEADERS = {
    "authorization": NOT_ASCII,
    "Authorization": b"Bearer \xe9.\xe9.\xe9",
    "x-request-id": NOT_ASCII,
    "traceparent": NOT_ASCII,
    "x-envoy-expected-rq-timeout-ms": b"\xb2",  # ², a digit that is no number
    "X-Envoy-Expected-Rq-Timeout-Ms": b"9" * 5_000,
    "idempotency-key": NOT_ASCII,
    "last-event-id": b"\xb2",
    "content-type": NOT_ASCII,
    "accept": NOT_ASCII,
}
every_service = pytest.mark.parametrize("name", installed_names())


@every_service
async def test_no_header_makes_a_request_fail_in_the_service(
    name: str, launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched = await launch(installed()[name], **_secrets(installed()[name]))
    failed = []
    async with launched.client() as client, peers(launched, monkeypatch):
        for it in _operations(launched):
            if it.path.endswith("/stream"):
                continue
            for header, value in HEADERS.items():
                raw = {"authorization": it.token, "idempotency-key": "k"} | JSON | {header.lower(): value}
                answer = await client.request(it.method, it.path, headers=_encoded(raw), content=b"{}")
                if answer.status_code == 500:
                    failed.append(f"{it.method} {it.path} with {header} {value[:20]!r}")
    assert failed == []


@every_service
async def test_half_a_character_is_refused_with_the_name_of_its_field(name: str, launch: Launch) -> None:
    launched = await launch(installed()[name], **_secrets(installed()[name]))
    wrong = []
    async with launched.client() as client:
        for it in _operations(launched):
            for fields in it.bodies:
                for field in [*fields, SURROGATE]:
                    headers = {"authorization": it.token, "idempotency-key": "k"} | JSON
                    body = json.dumps({**dict.fromkeys(fields), field: SURROGATE})
                    answer = await client.request(it.method, it.path, headers=headers, content=body)
                    named = {error["field"].split(".")[-1] for error in answer.json().get("errors", ())}
                    if answer.status_code != 422 or not named & {field if field != SURROGATE else "body", *fields}:
                        wrong.append(f"{it.method} {it.path} {field!r}: {answer.status_code} {named}")
    assert wrong == []


async def test_a_key_beyond_ascii_is_refused_and_a_token_beyond_it_is_not_passed_on(
    launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched = await launch(installed()["aggregator"])
    async with launched.as_customer() as customer, launched.client() as anyone, peers(launched, monkeypatch):
        body = {"address_id": str(new_id()), "payment_token": "tok_visa"}
        keyed = [(b"idempotency-key", NOT_ASCII)]
        refused = await customer.post("/api/v1/checkouts", json=body, headers=keyed)
        assert _status_and_field(refused) == (422, "Idempotency-Key")
        credentials = {"grant_type": "password", "email": "ada@example.org", "password": "correct horse"}
        headers = [(b"authorization", NOT_ASCII)]
        answer = await anyone.post("/api/v1/tokens", json=credentials, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")  # from the other service


async def test_a_token_that_cannot_be_ours_is_refused_while_its_issuer_is_away(
    launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched = await launch(installed()["order"])
    monkeypatch.delenv("USER_URL")
    async with launched.client("not.a.token") as client:
        assert (await client.get("/cart")).status_code == 401
    async with launched.as_customer() as client:
        assert (await client.get("/cart")).status_code == 503


async def test_a_method_that_a_path_does_not_have_is_answered_with_all_that_it_has(launch: Launch) -> None:
    launched = await launch(installed()["order"])
    async with launched.as_customer() as client:
        answer = await client.patch(f"/cart/lines/{new_id()}")
    assert (answer.status_code, answer.headers["allow"]) == (405, "DELETE, PUT")


@asynccontextmanager
async def peers(launched: Launched, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Another service in the place of all others, which finds nothing. The keys of tokens are known before."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = json.dumps(as_json(NotFound)).encode()
        writer.write(b"HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    await launched.instance.runtime.token_verifier.verify(token(new_id(), "customer"))
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        for name in installed_names():
            monkeypatch.setenv(f"{name.upper()}_URL", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        yield


def _encoded(headers: dict[str, str | bytes]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), it if isinstance(it, bytes) else it.encode()) for name, it in headers.items()]


@dataclass
class _Operation:
    method: str
    path: str  # with ids that do not exist
    token: str
    bodies: list[list[str]]  # the field names of each body that it takes


def _operations(launched: Launched) -> list[_Operation]:
    service = launched.instance.service
    found = []
    for described in (document(service, audience) for audience in audiences_of(service)):
        schemas = described["components"]["schemas"]
        for path, operations in described["paths"].items():
            for method, it in operations.items():
                bodies = [list(schemas[kind]["properties"]) for kind in _body_kinds(it)]
                found.append(_Operation(method.upper(), _filled(path, it), _token(it), bodies))
    return found


def _filled(path: str, operation: dict[str, Any]) -> str:
    for it in operation.get("parameters", ()):
        if it["in"] == "path":
            path = path.replace(f"{{{it['name']}}}", str(new_id()))
    return path


def _body_kinds(operation: dict[str, Any]) -> list[str]:
    """The names of the schemas that the operation takes as a body."""
    schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    kinds = schema.get("oneOf", schema.get("anyOf", [schema]))
    return [it["$ref"].rpartition("/")[2] for it in kinds if "$ref" in it]


def _token(operation: dict[str, Any]) -> str:
    roles = [role for scheme in operation["security"] for roles in scheme.values() for role in roles]
    raw = service_token("test", SERVICE_KEY) if "service" in roles else token(new_id(), "customer", "staff", "operator")
    return f"Bearer {raw}"


def _status_and_field(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["errors"][0]["field"]


def _secrets(service: Service) -> dict[str, str]:
    """Settings without a default."""
    secret = b64encode(b"a secret of this test").decode()
    return {name: secret for name in service.settings.model_fields if name.endswith("_webhook_secret")}
