"""Which role may use which route: each role is tried alone."""

import pytest

from chassis.database import new_id
from chassis.testing import Launch, token
from order.main import service

ORDER = new_id()
FOR_STAFF = [
    ("GET", "/stuck-orders"),
    ("POST", f"/orders/{ORDER}/resumption"),
    ("POST", f"/orders/{ORDER}/returns/{new_id()}/receipt"),
]
FOR_SERVICES = [("GET", "/exports/orders")]
ALLOWED = [*((line, "staff") for line in FOR_STAFF), *((line, "") for line in FOR_SERVICES)]


@pytest.mark.parametrize(("request_line", "allowed"), ALLOWED)
async def test_a_route_is_for_one_role_and_services(
    launch: Launch, request_line: tuple[str, str], allowed: str
) -> None:
    order = await launch(service)
    method, path = request_line
    async with order.client() as client, order.as_service() as other:
        assert (await client.request(method, path, json={})).status_code == 401
        assert (await other.request(method, path, json={})).status_code not in (401, 403)
    for role in ("customer", "staff", "operator"):
        async with order.client(token(new_id(), role)) as client:
            answer = await client.request(method, path, json={})
        assert (answer.status_code not in (401, 403)) == (role == allowed), (role, answer.text)
