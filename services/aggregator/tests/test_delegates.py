"""Requests that are passed on with the caller's token, requests that are refused, and the OpenAPI document."""

import json
from typing import Any
from uuid import UUID

import pytest
from joserfc.jwk import OKPKey

from chassis.database import new_id
from chassis.testing import token
from contracts.order import OrderPlaced
from ledger.fakes import FakeService, problem

from .conftest import ADA, API, Harness, changed, order_state, view_of

ID = str(new_id())
ACCOUNT = {"id": ID, "email": "ada@example.org", "name": "Ada", "roles": ["customer"]}
TOKENS = {"access_token": "a", "refresh_token": "r", "token_type": "Bearer", "expires_in": 900}
HOME = {"name": "Ada", "street": "Main St 1", "postcode": "10115", "city": "Berlin", "country": "DE"}
CART = {"lines": [], "total_cents": 0, "currency": "EUR"}
REGISTER = {"email": "ada@example.org", "password": "correct horse", "name": "Ada"}
SIGN_IN = {"grant_type": "password", "email": "ada@example.org", "password": "correct horse"}
CHECKOUT = {"address_id": ID, "payment_token": "tok_visa", "total_cents": 1390, "quote_id": None}
QUOTE = {
    "id": ID,
    "address_id": ID,
    "lines": [],
    "shipping_cents": 490,
    "total_cents": 1390,
    "currency": "EUR",
    "valid_until": "2026-01-01T00:15:00Z",
}
PASSWORD = {"password": "correct horse", "new_password": "battery staple"}
RESET = {"secret": "from the mail", "new_password": "battery staple"}
ERASURE = {
    "id": ID,
    "requested_at": "2026-01-01T00:00:00Z",
    "completed_at": None,
    "reports": [],
    "waiting_for": ["order"],
}
RETURN = {"lines": [{"product_id": ID, "quantity": 1}]}
REFUND = {"id": ID, **RETURN, "amount_cents": 450, "state": "announced", "reason": None}
ORDER = view_of(order_state(OrderPlaced, 1, UUID(ID)))
DELEGATED: list[tuple[str, str, str, Any, int, Any]] = [
    ("user", "POST", "/accounts", REGISTER, 201, ACCOUNT),
    ("user", "POST", "/tokens", SIGN_IN, 200, TOKENS),
    ("user", "POST", "/tokens", {"grant_type": "refresh_token", "refresh_token": "r"}, 200, TOKENS),
    ("user", "GET", "/me", None, 200, ACCOUNT),
    ("user", "GET", "/me/addresses", None, 200, [{"id": ID, **HOME}]),
    ("user", "POST", "/me/addresses", HOME, 201, {"id": ID, **HOME}),
    ("order", "GET", "/cart", None, 200, CART),
    ("order", "PUT", f"/cart/lines/{ID}", {"quantity": 2}, 200, CART),
    ("order", "DELETE", f"/cart/lines/{ID}", None, 200, CART),
    ("order", "POST", "/quotes", {"address_id": ID}, 201, QUOTE),
    ("order", "POST", "/checkouts", CHECKOUT, 202, ORDER),
    ("order", "POST", f"/orders/{ID}/cancellation", None, 202, ORDER),
    ("order", "POST", f"/orders/{ID}/returns", RETURN, 201, REFUND),
    ("order", "GET", f"/orders/{ID}/refunds", None, 200, [REFUND]),
    ("user", "PUT", "/me/password", PASSWORD, 200, TOKENS),
    ("user", "POST", "/password-resets", {"email": "ada@example.org"}, 202, None),
    ("user", "POST", "/password-resets/uses", RESET, 200, TOKENS),
    ("user", "POST", "/tokens/revocation", {"token": "a-refresh-token"}, 204, None),
    ("user", "POST", "/me/erasure", {"password": "correct horse"}, 202, ERASURE),
    ("user", "GET", f"/erasures/{ID}", None, 200, ERASURE),
    ("notification", "GET", "/me/preferences", None, 200, {"advertising": False}),
    ("notification", "PUT", "/me/preferences", {"advertising": True}, 200, {"advertising": True}),
    ("notification", "POST", "/unsubscriptions", {"token": "from the mail"}, 204, None),
]
OPEN = {
    "/accounts",
    "/tokens",
    "/tokens/revocation",
    "/password-resets",
    "/password-resets/uses",
    f"/erasures/{ID}",
    "/unsubscriptions",
}
IDEMPOTENT = {"/checkouts", f"/orders/{ID}/returns"}
LOCATIONS = {
    ("POST", "/accounts"): f"{API}/me",
    ("POST", "/me/addresses"): f"{API}/me/addresses",
    ("POST", "/me/erasure"): f"{API}/erasures/{ID}",
    ("POST", "/checkouts"): f"{API}/orders/{ID}",
    ("POST", f"/orders/{ID}/cancellation"): f"{API}/orders/{ID}",
    ("POST", f"/orders/{ID}/returns"): f"{API}/orders/{ID}/refunds",
}
NAMES = [f"{method} {path}".replace(ID, "ID") for _, method, path, *_ in DELEGATED]


@pytest.mark.parametrize(("owner", "method", "path", "body", "status", "answer"), DELEGATED, ids=NAMES)
async def test_a_request_is_passed_on(
    harness: Harness, owner: str, method: str, path: str, body: Any, status: int, answer: Any
) -> None:
    peer: FakeService = getattr(harness, owner)
    peer.answers[method, path] = (status, answer)
    async with harness.as_ada() as client:
        headers = {"Idempotency-Key": "once"} if path in IDEMPOTENT else {}
        response = await client.request(method, API + path, json=body, headers=headers)
        assert (response.status_code, response.json() if response.content else None) == (status, answer)
        (received,) = peer.requests
        assert (received.method, received.path, received.body) == (method, path, body)
        assert received.headers["authorization"] == client.headers["authorization"]
    assert received.headers.get("idempotency-key") == headers.get("Idempotency-Key")
    assert response.headers.get("location") == LOCATIONS.get((method, path))
    if answer == TOKENS:
        assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(("owner", "method", "path", "body", "status", "answer"), DELEGATED, ids=NAMES)
async def test_a_problem_is_passed_back(
    harness: Harness, owner: str, method: str, path: str, body: Any, status: int, answer: Any
) -> None:
    peer: FakeService = getattr(harness, owner)
    errors = [{"field": "quantity", "code": "price_changed", "detail": "No."}]
    peer.answers[method, path] = (409, {**problem(409, "price_changed"), "total_cents": 7, "errors": errors})
    async with harness.as_ada() as client:
        response = await client.request(method, API + path, json=body, headers={"Idempotency-Key": "once"})
    problem_body = response.json()
    assert (response.status_code, problem_body["code"], problem_body["total_cents"], problem_body["errors"]) == (
        409,
        "price_changed",
        7,
        errors,
    )
    assert response.headers["content-type"] == "application/problem+json"


def without(body: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key != name}


LINE = f"/cart/lines/{ID}"
BAD_INPUT: dict[str, tuple[str, str, Any, int, str, str | None]] = {
    "quantity zero": ("PUT", LINE, {"quantity": 0}, 422, "invalid_input", "quantity"),
    "quantity negative": ("PUT", LINE, {"quantity": -1}, 422, "invalid_input", "quantity"),
    "quantity absurd": ("PUT", LINE, {"quantity": 1_000_000_000_000}, 422, "invalid_input", "quantity"),
    "quantity half": ("PUT", LINE, {"quantity": 1.5}, 422, "invalid_input", "quantity"),
    "quantity missing": ("PUT", LINE, {}, 422, "invalid_input", "quantity"),
    "unknown field": ("PUT", LINE, {"quantity": 1, "price_cents": 1}, 422, "invalid_input", "price_cents"),
    "product no id": ("PUT", "/cart/lines/tea", {"quantity": 1}, 422, "invalid_input", "product_id"),
    "broken JSON": ("PUT", LINE, b'{"quantity": ', 400, "invalid_json", None),
    "no body": ("PUT", LINE, b"", 422, "invalid_input", None),
    "oversized body": ("POST", "/checkouts", b'"' + b"x" * 1024 * 1024 + b'"', 413, "body_too_large", None),
    "checkout field": ("POST", "/checkouts", {**CHECKOUT, "discount": 1}, 422, "invalid_input", "discount"),
    "checkout address": ("POST", "/checkouts", {**CHECKOUT, "address_id": "home"}, 422, "invalid_input", "address_id"),
    "no payment": ("POST", "/checkouts", without(CHECKOUT, "payment_token"), 422, "invalid_input", "payment_token"),
    "grant type": ("POST", "/tokens", {**SIGN_IN, "grant_type": "magic"}, 422, "invalid_input", None),
    "short password": ("POST", "/accounts", {**REGISTER, "password": "x"}, 422, "invalid_input", "password"),
    "mail": ("POST", "/accounts", {**REGISTER, "email": "ada"}, 422, "invalid_input", "email"),
    "roles": ("POST", "/accounts", {**REGISTER, "roles": ["operator"]}, 422, "invalid_input", "roles"),
    "country": ("POST", "/me/addresses", {**HOME, "country": "Germany"}, 422, "invalid_input", "country"),
    "limit": ("GET", "/products?limit=0", None, 422, "invalid_input", "limit"),
    "search": ("GET", "/products?q=%00", None, 422, "invalid_input", "q"),
    "cursor": ("GET", "/products?cursor=nonsense", None, 422, "invalid_cursor", "cursor"),
    "order cursor": ("GET", "/orders?cursor=WyJ4Il0", None, 422, "invalid_cursor", "cursor"),
    "return of nothing": ("POST", f"/orders/{ID}/returns", {"lines": []}, 422, "invalid_input", "lines"),
    "new password": (
        "POST",
        "/password-resets/uses",
        {**RESET, "new_password": "x"},
        422,
        "invalid_input",
        "new_password",
    ),
    "erase me": ("POST", "/me/erasure", {}, 422, "invalid_input", "password"),
    "order no id": ("GET", "/orders/17", None, 422, "invalid_input", "order_id"),
    "unknown product": ("GET", f"/products/{ID}", None, 404, "product_not_found", None),
    "unknown path": ("GET", "/nothing", None, 404, "not_found", None),
    "unknown method": ("DELETE", "/products", None, 405, "method_not_allowed", None),
}


@pytest.mark.parametrize(("method", "path", "body", "status", "code", "field"), BAD_INPUT.values(), ids=BAD_INPUT)
async def test_bad_input_has_its_code_and_changes_nothing(
    harness: Harness, method: str, path: str, body: Any, status: int, code: str, field: str | None
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
    async with harness.as_ada() as client:
        headers = {"Idempotency-Key": "once", "content-type": "application/json"}
        response = await client.request(method, API + path, content=content, headers=headers)
    problem_body = response.json()
    assert (response.status_code, problem_body["status"], problem_body["code"]) == (status, status, code)
    assert response.headers["content-type"] == "application/problem+json"
    if field is not None:
        assert field in [error["field"].split(".")[-1] for error in problem_body["errors"]]
    assert [*harness.user.requests, *harness.product.requests, *harness.order.requests] == []


@pytest.mark.parametrize(
    ("path", "body"), [("/checkouts", CHECKOUT), (f"/orders/{ID}/returns", RETURN)], ids=["checkout", "return"]
)
async def test_requests_about_money_need_an_idempotency_key(harness: Harness, path: str, body: Any) -> None:
    async with harness.as_ada() as client:
        response = await client.post(API + path, json=body)
    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, "Idempotency-Key")
    assert harness.order.requests == []


BAD_TOKENS = {
    "none": None,
    "malformed": "a.b.c",
    "expired": token(ADA, "customer", expires_in=-1),
    "of another key": token(ADA, "customer", key=OKPKey.generate_key("Ed25519", {"kid": "test"}, private=True)),
}


@pytest.mark.parametrize("raw", BAD_TOKENS.values(), ids=BAD_TOKENS)
async def test_without_a_valid_token_only_open_operations_answer(harness: Harness, raw: str | None) -> None:
    event = changed()
    await harness.aggregator.send(event)
    harness.product.answers["GET", "/stock"] = (200, {"items": [], "next_cursor": None})
    for owner, method, path, _, status, answer in DELEGATED:
        getattr(harness, owner).answers[method, path] = (status, answer)
    async with harness.aggregator.client(raw) as client:
        for path in ("/products", f"/products/{event.product_id}", "/categories", "/openapi.json"):
            assert (await client.get(API + path)).status_code == 200
        for _, method, path, body, status, _ in DELEGATED:
            expected = status if path in OPEN else 401
            headers = {"Idempotency-Key": "once"}
            answered = await client.request(method, API + path, json=body, headers=headers)
            assert (answered.status_code, method, path) == (expected, method, path)
        for path in ("/orders", f"/orders/{ID}", f"/orders/{ID}/stream", "/dashboard"):
            assert (await client.get(API + path)).json()["code"] == "unauthenticated"
    assert harness.order.requests == []


async def test_the_document_lists_the_operations_and_which_need_a_token(harness: Harness) -> None:
    described = await harness.get("/openapi.json")
    assert described["openapi"].startswith("3.1")
    operations = {
        (method.upper(), path.removeprefix(API)): operation
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    }
    open_to_all = {key for key, operation in operations.items() if not operation.get("security")}
    assert open_to_all == {
        ("POST", "/accounts"),
        ("POST", "/tokens"),
        ("POST", "/tokens/revocation"),
        ("POST", "/password-resets"),
        ("POST", "/password-resets/uses"),
        ("GET", "/erasures/{erasure_id}"),
        ("POST", "/unsubscriptions"),
        ("POST", "/unsubscriptions/{token}"),
        ("GET", "/products"),
        ("GET", "/products/{product_id}"),
        ("GET", "/categories"),
    }
    assert len(operations) == 30
    assert all("500" in operation["responses"] for operation in operations.values())


async def test_the_document_describes_every_operation(harness: Harness) -> None:
    paths = (await harness.get("/openapi.json"))["paths"]
    operations = {(method.upper(), path): it for path, methods in paths.items() for method, it in methods.items()}
    assert len({it["operationId"] for it in operations.values()}) == len(operations)
    assert [it["operationId"] for it in operations.values() if len(it["tags"]) != 1 or not it["description"]] == []
    with_location = {
        (method, path.removeprefix(API).replace("{order_id}", ID))
        for (method, path), it in operations.items()
        if any("Location" in response.get("headers", {}) for response in it["responses"].values())
    }
    assert with_location == set(LOCATIONS)


async def test_a_mail_program_unsubscribes_with_one_click(harness: Harness) -> None:
    """It posts a form to the address in the mail's header (RFC 8058)."""
    harness.notification.answers["POST", "/unsubscriptions"] = (204, None)
    async with harness.aggregator.client() as client:
        form = {"List-Unsubscribe": "One-Click"}
        assert (await client.post(f"{API}/unsubscriptions/a.signed.token", data=form)).status_code == 204
    (call,) = harness.notification.requests
    assert call.body == {"token": "a.signed.token"}
