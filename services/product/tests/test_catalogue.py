"""The catalogue over HTTP: what staff changes, what callers find, which requests are refused."""

import asyncio

import pytest

from chassis.database import new_id
from chassis.testing import Launched
from contracts.product import (
    Line,
    ProductChanged,
    ReserveStock,
)
from product.models import Stock

from .conftest import add_products, stock_levels


async def test_each_change_sends_the_full_state(product: Launched) -> None:
    (id,) = await add_products(product, 5)
    async with product.as_staff() as staff:
        changed = (await staff.patch(f"/products/{id}", json={"price_cents": 500})).json()
        assert (changed["version"], changed["price_cents"], changed["name"]) == (2, 500, "Tea 0")
        unchanged = (await staff.patch(f"/products/{id}", json={"price_cents": 500})).json()
        assert unchanged == changed
        assert (await staff.get(f"/products/{id}")).json() == changed
    await product.settled()
    first, second = await product.sent(ProductChanged)
    assert second == ProductChanged(product_id=id, **{key: value for key, value in changed.items() if key != "id"})
    assert isinstance(first, ProductChanged)
    assert (first.version, first.price_cents) == (1, 450)


async def test_adding_a_product_twice_adds_it_once(product: Launched) -> None:
    body = [{"id": str(new_id()), "name": "Tea", "category": "Tea", "price_cents": 450, "on_hand": 5}]
    async with product.as_staff() as staff:
        answered = await asyncio.gather(*(staff.post("/products", json=body) for _ in range(4)))
        other = [{**body[0], "name": "Coffee", "on_hand": 9}, {**body[0], "id": str(new_id())}]
        again = (await staff.post("/products", json=other)).json()
    assert {it.status_code for it in answered} == {201}
    assert [it["name"] for it in again] == ["Tea", "Tea"]
    await product.settled()
    assert [stock.on_hand for stock in await product.rows(Stock)] == [5, 5]
    assert len(await product.sent(ProductChanged)) == 2


async def test_pages_list_every_product_once_by_name(product: Launched) -> None:
    await add_products(product, *[1] * 25, name="The same")
    await add_products(product, *[1] * 20)
    found: list[dict[str, str]] = []
    async with product.as_customer() as client:
        page = (await client.get("/products", params={"limit": 10})).json()
        while True:
            found += page["items"]
            if page["next_cursor"] is None:
                break
            page = (await client.get("/products", params={"limit": 10, "cursor": page["next_cursor"]})).json()
    assert len({it["id"] for it in found}) == len(found) == 45
    assert [it["name"] for it in found] == sorted(it["name"] for it in found)


async def test_search_and_categories(product: Launched) -> None:
    await add_products(product, 1, name="Green Tea", category="Tea", description="Loose leaves")
    await add_products(product, 1, name="Teapot", category="Pots", description="Holds a litre")
    await add_products(product, 1, name="Espresso", category="Coffee", description="Strong; no teaspoon needed")

    async def names(**params: str) -> list[str]:
        async with product.as_customer() as client:
            return [it["name"] for it in (await client.get("/products", params=params)).json()["items"]]

    assert await names(q="tea") == ["Espresso", "Green Tea", "Teapot"]
    assert await names(q="TEA lea") == ["Green Tea"]
    assert await names(q="tea", category="Pots") == ["Teapot"]
    assert await names(category="Tea") == ["Green Tea"]
    assert await names(q="100% | ( & ') !") == []
    assert await names(q="", category="") == await names(q=" ") == ["Espresso", "Green Tea", "Teapot"]
    assert await names(q="", category="Tea") == ["Green Tea"]
    async with product.as_customer() as client:
        listed = (await client.get("/categories")).json()
    assert listed == [{"name": name, "products": 1} for name in ("Coffee", "Pots", "Tea")]


async def test_products_and_stock_are_listed_by_ids(product: Launched) -> None:
    first, second = await add_products(product, 5, 6)
    ids = f"{second},{first},{new_id()}"
    async with product.as_service() as client:
        assert {it["id"] for it in (await client.get("/products", params={"ids": ids})).json()["items"]} == {
            str(first),
            str(second),
        }
        stock = (await client.get("/stock", params={"ids": ids})).json()["items"]
    assert stock[0] == {"product_id": str(first), "on_hand": 5, "reserved": 0}
    assert len(stock) == 2


async def test_stock_is_not_set_below_what_is_reserved(product: Launched) -> None:
    (id,) = await add_products(product, 5)
    await product.send(ReserveStock(order_id=new_id(), lines=[Line(product_id=id, quantity=3)]))
    async with product.as_staff() as staff:
        refused = await staff.put(f"/stock/{id}", json={"on_hand": 2})
        assert (refused.status_code, refused.json()["code"], refused.json()["reserved"]) == (
            409,
            "stock_is_reserved",
            3,
        )
        assert (await staff.put(f"/stock/{id}", json={"on_hand": 3})).json()["on_hand"] == 3
    assert await stock_levels(product, id) == (3, 3, 0)


NEW = {"id": "0193b2a0-0000-7000-8000-000000000000", "name": "Tea", "category": "Tea", "price_cents": 1}
BAD_PRODUCTS = {
    "price": {"price_cents": 0},
    "text as price": {"price_cents": "cheap"},
    "no name": {"name": " "},
    "control character": {"name": "a\x00b"},
    "control character beyond ASCII": {"name": "a\x9fb"},
    "currency": {"currency": "euro"},
    "stock": {"on_hand": -1},
    "unknown field": {"colour": "green"},
}


@pytest.mark.parametrize("bad", BAD_PRODUCTS.values(), ids=BAD_PRODUCTS)
async def test_an_invalid_product_is_refused_with_the_field(product: Launched, bad: dict[str, object]) -> None:
    async with product.as_staff() as staff:
        refused = await staff.post("/products", json=[{**NEW, **bad}])
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_input")
    assert refused.json()["errors"][0]["field"] == f"0.{next(iter(bad))}"
    assert await product.rows(Stock) == []


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/products?cursor=nonsense", 422, "invalid_cursor"),
        ("/products?cursor=WyJhIiwiYiJd", 422, "invalid_cursor"),
        ("/products?limit=0", 422, "invalid_input"),
        ("/products?limit=101", 422, "invalid_input"),
        ("/products?ids=1,2", 422, "invalid_input"),
        ("/products?q=%00", 422, "invalid_input"),
        ("/products?category=%00", 422, "invalid_input"),
        ("/products/17", 422, "invalid_input"),
        (f"/products/{NEW['id']}", 404, "product_not_found"),
        ("/nothing", 404, "not_found"),
    ],
)
async def test_an_invalid_request_is_refused(product: Launched, path: str, status: int, code: str) -> None:
    async with product.as_customer() as client:
        answer = await client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
