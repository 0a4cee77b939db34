"""A running product service, and products in it."""

from uuid import UUID

import pytest

from chassis.database import new_id
from chassis.testing import Launch, Launched
from product.main import service
from product.models import Stock


@pytest.fixture
async def product(launch: Launch) -> Launched:
    return await launch(service)


async def add_products(product: Launched, *on_hand: int, **fields: object) -> list[UUID]:
    """Add a product for each number of pieces on hand."""
    ids = [new_id() for _ in on_hand]
    body = [
        {"id": str(id), "name": f"Tea {number}", "category": "Tea", "price_cents": 450, "on_hand": pieces, **fields}
        for number, (id, pieces) in enumerate(zip(ids, on_hand, strict=True))
    ]
    async with product.as_staff() as staff:
        assert (await staff.post("/products", json=body)).status_code == 201
    return ids


async def stock_levels(product: Launched, id: UUID) -> tuple[int, int, int]:
    """The pieces on hand, reserved and committed."""
    (stock,) = [it for it in await product.rows(Stock) if it.product_id == id]
    return stock.on_hand, stock.reserved, stock.committed
