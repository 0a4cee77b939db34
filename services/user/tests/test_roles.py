"""Which role may use which operation. Each role is tested alone: a token with several would hide a missing check."""

import pytest

from chassis.database import new_id
from chassis.testing import Launch, Launched, token
from user.main import service

from .conftest import PASSWORD

ID = new_id()
HOME = {"name": "Ada", "street": "Main St 1", "postcode": "10115", "city": "Berlin", "country": "DE"}
ROLES = ["anonymous", "customer", "staff", "operator", "service"]
PEOPLE = {"customer", "staff", "operator"}
OPERATORS = {"operator", "service"}  # a service may do everything, because it has checked its own caller
ANY_CALLER = set(ROLES)
OPERATIONS = [
    ("POST", "/accounts", {"email": "bob@example.org", "password": PASSWORD, "name": "Bob"}, ANY_CALLER),
    ("POST", "/tokens", {"grant_type": "refresh_token", "refresh_token": "unknown"}, ANY_CALLER),
    ("POST", "/tokens/revocation", {"token": "unknown"}, ANY_CALLER),
    ("POST", "/password-resets", {"email": "ada@example.org"}, ANY_CALLER),
    ("POST", "/password-resets/uses", {"secret": "unknown", "new_password": PASSWORD}, ANY_CALLER),
    ("GET", f"/erasures/{ID}", None, ANY_CALLER),
    ("GET", "/.well-known/jwks.json", None, ANY_CALLER),
    ("GET", "/me", None, PEOPLE),
    ("GET", "/me/addresses", None, PEOPLE),
    ("POST", "/me/addresses", HOME, PEOPLE),
    ("PUT", "/me/password", {"password": PASSWORD, "new_password": PASSWORD}, PEOPLE),
    ("POST", "/me/erasure", {"password": PASSWORD}, PEOPLE),
    ("POST", "/role-grants", {"email": "ada@example.org", "role": "operator"}, OPERATORS),
    ("POST", "/role-revocations", {"email": "ada@example.org", "role": "customer"}, OPERATORS),
    ("GET", "/erasures", None, OPERATORS),
    ("POST", "/signing-keys", None, OPERATORS),
    ("GET", f"/accounts/{ID}/contact", None, {"service"}),
    ("GET", f"/addresses/{ID}", None, {"service"}),
    ("GET", f"/password-resets/{ID}/secret", None, {"service"}),
]


@pytest.fixture
async def user(launch: Launch) -> Launched:
    """It verifies tokens of the test's own issuer, which may carry any role."""
    return await launch(service)


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_may_use_its_operations_and_no_others(user: Launched, role: str) -> None:
    raw = None if role == "anonymous" else token(new_id(), role)
    allowed, answered = {}, {}
    async with user.as_service() if role == "service" else user.client(raw) as client:
        for method, path, body, roles in OPERATIONS:
            answer = await client.request(method, path, json=body)
            code = None if answer.is_success else answer.json()["code"]
            allowed[method, path] = role in roles
            answered[method, path] = code not in ("unauthenticated", "forbidden")
    assert answered == allowed
