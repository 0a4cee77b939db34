"""Which role may use which route: each role is tried alone."""

import pytest

from chassis.database import new_id
from chassis.testing import Launched, token

FOR_STAFF = [f"/shipments/{new_id()}", "/totals"]
ROLES = ("customer", "staff", "operator")


@pytest.mark.parametrize("path", FOR_STAFF, ids=["shipment", "totals"])
async def test_a_route_is_for_staff_and_services(shipping: Launched, path: str) -> None:
    async with shipping.client() as client, shipping.as_service() as other:
        assert (await client.get(path)).status_code == 401
        assert (await other.get(path)).status_code in (200, 404)
    for role in ROLES:
        async with shipping.client(token(new_id(), role)) as client:
            answer = await client.get(path)
        assert answer.status_code in ((200, 404) if role == "staff" else (403,)), (role, answer.text)


async def test_rates_are_for_every_caller(shipping: Launched) -> None:
    for role in ROLES:
        async with shipping.client(token(new_id(), role)) as client:
            assert (await client.get("/rates")).status_code == 200
    async with shipping.client() as client:
        assert (await client.get("/rates")).status_code == 401
