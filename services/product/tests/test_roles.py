"""Which role may use which operation. Each role is tested alone: a token with several would hide a missing check."""

from contextlib import AsyncExitStack

import httpx
import pytest

from chassis.database import new_id
from chassis.testing import Launched, token

from .conftest import add_products, stock_levels

ID = new_id()
NEW = [{"id": str(ID), "name": "Pot", "category": "Pots", "price_cents": 1, "on_hand": 1}]
EVERY_ROLE = {"customer", "staff", "operator", "service"}
STAFF = {"staff", "service"}  # a service may do everything, because it has checked its own caller
OPERATIONS = [
    ("GET", "/products", None, EVERY_ROLE),
    ("GET", f"/products/{ID}", None, EVERY_ROLE),
    ("GET", f"/products/{ID}/prices", None, EVERY_ROLE),
    ("GET", "/categories", None, EVERY_ROLE),
    ("GET", "/exports/products", None, {"service"}),
    ("GET", "/stock", None, STAFF),
    ("GET", f"/stock?ids={ID}", None, STAFF),
    ("GET", "/stock?low=true", None, STAFF),
    ("GET", "/totals", None, STAFF),
    ("POST", "/products", NEW, STAFF),
    ("PATCH", f"/products/{ID}", {"price_cents": 1}, STAFF),
    ("PUT", f"/stock/{ID}", {"on_hand": 0}, STAFF),
    ("DELETE", f"/products/{ID}", None, STAFF),
]


def client_of(product: Launched, role: str) -> httpx.AsyncClient:
    return product.as_service() if role == "service" else product.client(token(new_id(), role))


@pytest.mark.parametrize("role", sorted(EVERY_ROLE))
async def test_a_role_may_use_its_operations_and_no_others(product: Launched, role: str) -> None:
    (id,) = await add_products(product, 5)
    allowed, answered = {}, {}
    async with AsyncExitStack() as stack:
        client, anonymous = client_of(product, role), product.client()
        for it in (client, anonymous):
            await stack.enter_async_context(it)
        for method, path, body, roles in OPERATIONS:
            path = path.replace(str(ID), str(id))
            assert (await anonymous.request(method, path, json=body)).status_code == 401
            answer = await client.request(method, path, json=body)
            allowed[method, path] = role in roles
            answered[method, path] = answer.is_success
            if not answer.is_success:
                assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert answered == allowed
    if role not in STAFF:
        assert await stock_levels(product, id) == (5, 0, 0)
