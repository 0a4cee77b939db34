"""The export of all products, from which other services rebuild their read models."""

from typing import Any

from chassis.testing import Launched

from .conftest import add_products


async def test_the_export_lists_every_product_that_is_sold_once_by_id(product: Launched) -> None:
    ids = await add_products(product, *[1] * 25)
    async with product.as_staff() as staff:
        assert (await staff.delete(f"/products/{ids[3]}")).status_code == 204
    found: list[dict[str, Any]] = []
    async with product.as_service() as client:
        page = (await client.get("/exports/products", params={"limit": 10})).json()
        while page["next_cursor"] is not None:
            found += page["items"]
            page = (await client.get("/exports/products", params={"limit": 10, "cursor": page["next_cursor"]})).json()
        found += page["items"]
        assert (await client.get(f"/products/{ids[0]}")).json() in found
    assert [it["id"] for it in found] == sorted(str(id) for id in ids if id != ids[3])
