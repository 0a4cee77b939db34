"""Which role may use which route: each role is tried alone."""

import pytest

from chassis.database import new_id
from chassis.testing import Launched, token

FOR_STAFF = [f"/payments/{new_id()}", "/totals", "/discrepancies"]


@pytest.mark.parametrize("path", FOR_STAFF, ids=["payment", "totals", "discrepancies"])
async def test_a_route_is_for_staff_and_services(payment: Launched, path: str) -> None:
    async with payment.client() as client, payment.as_service() as other:
        assert (await client.get(path)).status_code == 401
        assert (await other.get(path)).status_code in (200, 404)
    for role in ("customer", "staff", "operator"):
        async with payment.client(token(new_id(), role)) as client:
            answer = await client.get(path)
        assert answer.status_code in ((200, 404) if role == "staff" else (403,)), (role, answer.text)
