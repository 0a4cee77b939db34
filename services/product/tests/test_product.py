"""The catalogue over HTTP, and stock under orders that come early, late, twice and all at once."""

import asyncio
import random
from collections.abc import Sequence
from uuid import UUID

import asyncpg
import pytest

from chassis.messaging.message import Message
from chassis.tables import new_id
from chassis.testing import Launch, Launched
from contracts.product import (
    CommitStock,
    Line,
    ProductChanged,
    ReleaseStock,
    ReserveStock,
    StockCommitted,
    StockRejected,
    StockReleased,
    StockReserved,
)
from product.main import service
from product.models import Reservation, Stock


@pytest.fixture
async def product(launch: Launch) -> Launched:
    return await launch(service)


async def added(product: Launched, *on_hand: int, **given: object) -> list[UUID]:
    """New products with so many pieces."""
    ids = [new_id() for _ in on_hand]
    body = [
        {"id": str(id), "name": f"Tea {number}", "category": "Tea", "price_cents": 450, "on_hand": pieces, **given}
        for number, (id, pieces) in enumerate(zip(ids, on_hand, strict=True))
    ]
    async with product.as_staff() as staff:
        assert (await staff.post("/products", json=body)).status_code == 201
    return ids


def reserve(order_id: UUID, *lines: tuple[UUID, int]) -> ReserveStock:
    return ReserveStock(order_id=order_id, lines=[Line(product_id=id, quantity=count) for id, count in lines])


async def stock_of(product: Launched, id: UUID) -> tuple[int, int, int]:
    (stock,) = [it for it in await product.rows(Stock) if it.product_id == id]
    return stock.on_hand, stock.reserved, stock.committed


async def answers(product: Launched) -> Sequence[Message]:
    return await product.sent(StockReserved, StockRejected, StockCommitted, StockReleased)


# Stock: each command in its time, early, late and twice.


async def test_all_lines_are_reserved(product: Launched) -> None:
    first, second = await added(product, 5, 5)
    order = new_id()
    await product.send(reserve(order, (first, 5), (second, 1)))
    assert await answers(product) == [StockReserved(order_id=order)]
    assert await stock_of(product, first) == (5, 5, 0)
    assert await stock_of(product, second) == (5, 1, 0)


async def test_or_none(product: Launched) -> None:
    plenty, little, unknown = *await added(product, 5, 1), new_id()
    order = new_id()
    await product.send(reserve(order, (plenty, 1), (little, 2), (unknown, 1)))
    assert await answers(product) == [StockRejected(order_id=order, product_ids=[little, unknown])]
    assert await stock_of(product, plenty) == (5, 0, 0)


async def test_two_lines_of_one_product_count_together(product: Launched) -> None:
    (id,) = await added(product, 5)
    order = new_id()
    await product.send(reserve(order, (id, 3), (id, 3)))
    assert await answers(product) == [StockRejected(order_id=order, product_ids=[id])]


async def test_goods_that_left_are_no_longer_on_hand(product: Launched) -> None:
    (id,) = await added(product, 5)
    order = new_id()
    await product.send(reserve(order, (id, 2)), CommitStock(order_id=order))
    assert await answers(product) == [StockReserved(order_id=order), StockCommitted(order_id=order)]
    assert await stock_of(product, id) == (3, 0, 2)


async def test_released_goods_are_for_others(product: Launched) -> None:
    (id,) = await added(product, 2)
    first, second = new_id(), new_id()
    await product.send(reserve(first, (id, 2)), ReleaseStock(order_id=first), reserve(second, (id, 2)))
    expected = [StockReserved(order_id=first), StockReleased(order_id=first), StockReserved(order_id=second)]
    assert await answers(product) == expected
    assert await stock_of(product, id) == (2, 2, 0)


RESERVED, REJECTED, COMMITTED, RELEASED = StockReserved, StockRejected, StockCommitted, StockReleased
TWICE = {
    "reserve": ("RR", [RESERVED, RESERVED], (5, 2, 0)),
    "commit": ("RCC", [RESERVED, COMMITTED, COMMITTED], (3, 0, 2)),
    "release": ("RLL", [RESERVED, RELEASED, RELEASED], (5, 0, 0)),
    "reserve after commit": ("RCR", [RESERVED, COMMITTED, RESERVED], (3, 0, 2)),
    "reserve after release": ("RLR", [RESERVED, RELEASED, REJECTED], (5, 0, 0)),
    "release before reserve": ("LR", [RELEASED, REJECTED], (5, 0, 0)),
    "release after commit": ("RCL", [RESERVED, COMMITTED, COMMITTED], (3, 0, 2)),
}


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "one by one"])
@pytest.mark.parametrize(("commands", "answered", "stock"), TWICE.values(), ids=TWICE)
async def test_early_late_and_repeated_commands(
    product: Launched, commands: str, answered: list[type], stock: tuple[int, int, int], together: bool
) -> None:
    (id,) = await added(product, 5)
    order = new_id()
    made = {"R": reserve(order, (id, 2)), "C": CommitStock(order_id=order), "L": ReleaseStock(order_id=order)}
    if together:
        await product.send(*[made[it] for it in commands])
    else:
        for it in commands:
            await product.send(made[it])
    assert [type(it) for it in await answers(product)] == answered
    assert await stock_of(product, id) == stock


async def test_a_rejected_wish_stays_rejected(product: Launched) -> None:
    """Also when there is enough by now: the order has been told."""
    (id,) = await added(product, 1)
    order = new_id()
    await product.send(reserve(order, (id, 2)))
    async with product.as_staff() as staff:
        await staff.put(f"/stock/{id}", json={"on_hand": 9})
    await product.send(reserve(order, (id, 2)), ReleaseStock(order_id=order))
    rejected = StockRejected(order_id=order, product_ids=[id])
    assert await answers(product) == [rejected, rejected, StockReleased(order_id=order)]
    assert await stock_of(product, id) == (9, 0, 0)


@pytest.mark.parametrize("before", ["nothing", "rejected", "released"])
async def test_a_commit_of_what_is_not_held_is_parked(product: Launched, before: str) -> None:
    """Goods have left that nobody reserved: that is for a person, and other orders go on."""
    (id,) = await added(product, 1)
    order, other = new_id(), new_id()
    if before == "rejected":
        await product.send(reserve(order, (id, 2)))
    if before == "released":
        await product.send(ReleaseStock(order_id=order))
    await product.send(CommitStock(order_id=order), reserve(other, (id, 1)))
    assert StockCommitted not in {type(it) for it in await answers(product)}
    assert StockReserved(order_id=other) in await answers(product)
    assert await stock_of(product, id) == (1, 1, 0)
    async with product.as_staff() as staff:
        (parked,) = (await staff.get("/internal/parked")).json()
    assert parked["key"] == str(order)
    assert "NothingReserved" in parked["reason"]


async def test_the_same_message_twice_is_answered_once(product: Launched) -> None:
    (id,) = await added(product, 5)
    envelope = product.envelope(reserve(new_id(), (id, 2)))
    await product.send(envelope)
    await product.send(envelope)
    assert len(await answers(product)) == 1


async def test_many_orders_at_once_never_oversell(product: Launched) -> None:
    """Several consumers on one database, staff who change the stock, orders that come and go, in any order."""
    rng = random.Random(7)
    ids = await added(product, *[20] * 4)
    orders = {new_id(): [(id, rng.randint(1, 3)) for id in rng.sample(ids, rng.randint(1, 4))] for _ in range(200)}
    envelopes = [product.envelope(reserve(order, *lines)) for order, lines in orders.items()]
    seen: list[bool] = []

    async def consume(share: int) -> None:
        mine = envelopes[share::4]
        while mine:
            size = rng.randint(1, 20)
            await product.instance.consumer.handle(mine[:size])
            mine = mine[size:]

    async def watch() -> None:
        while True:
            seen.extend(0 <= stock.reserved <= stock.on_hand for stock in await product.rows(Stock))
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(consume(share) for share in range(4)))
    watching.cancel()
    await product.settled()
    reserved = {it.order_id for it in await answers(product) if isinstance(it, StockReserved)}
    assert len(await answers(product)) == 200
    assert 20 < len(reserved) < 200
    assert len(seen) > 8
    assert all(seen)
    for id in ids:
        wanted = sum(quantity for order in reserved for line, quantity in orders[order] if line == id)
        assert await stock_of(product, id) == (20, wanted, 0)
        assert wanted >= 18  # what is refused was more than what was left
    undo = [ReleaseStock(order_id=it) if rng.random() < 0.5 else CommitStock(order_id=it) for it in sorted(reserved)]
    await product.send(*undo)
    async with product.as_staff() as staff:
        totals = (await staff.get("/totals")).json()
    assert totals["reserved"] == 0
    assert totals["on_hand"] + totals["committed"] == 80
    assert 0 < totals["committed"] < 80


async def test_the_database_itself_refuses_to_oversell(product: Launched) -> None:
    (id,) = await added(product, 5)
    with pytest.raises(asyncpg.CheckViolationError):
        async with product.instance.database.work() as work:
            await work.execute("UPDATE stock SET reserved = 6 WHERE product_id = $1", id)
    with pytest.raises(asyncpg.CheckViolationError):
        async with product.instance.database.work() as work:
            await work.execute("UPDATE stock SET reserved = -1 WHERE product_id = $1", id)


# The catalogue.


async def test_each_change_is_announced_with_the_full_state(product: Launched) -> None:
    (id,) = await added(product, 5)
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


async def test_adding_twice_adds_once(product: Launched) -> None:
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


async def test_pages_show_everything_once_by_name(product: Launched) -> None:
    await added(product, *[1] * 25, name="The same")
    await added(product, *[1] * 20)
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
    await added(product, 1, name="Green Tea", category="Tea", description="Loose leaves")
    await added(product, 1, name="Teapot", category="Pots", description="Holds a litre")
    await added(product, 1, name="Espresso", category="Coffee", description="Strong; no teaspoon needed")

    async def names(**params: str) -> list[str]:
        async with product.as_customer() as client:
            return [it["name"] for it in (await client.get("/products", params=params)).json()["items"]]

    assert await names(q="tea") == ["Espresso", "Green Tea", "Teapot"]
    assert await names(q="TEA lea") == ["Green Tea"]
    assert await names(q="tea", category="Pots") == ["Teapot"]
    assert await names(category="Tea") == ["Green Tea"]
    assert await names(q="100% | ( & ') !") == []
    async with product.as_customer() as client:
        listed = (await client.get("/categories")).json()
    assert listed == [{"name": name, "products": 1} for name in ("Coffee", "Pots", "Tea")]


async def test_products_and_stock_by_ids(product: Launched) -> None:
    first, second = await added(product, 5, 6)
    ids = f"{second},{first},{new_id()}"
    async with product.as_service() as client:
        assert {it["id"] for it in (await client.get("/products", params={"ids": ids})).json()} == {
            str(first),
            str(second),
        }
        stock = (await client.get("/stock", params={"ids": ids})).json()
    assert stock[0] == {"product_id": str(first), "on_hand": 5, "reserved": 0}
    assert len(stock) == 2


async def test_stock_is_not_set_below_what_is_reserved(product: Launched) -> None:
    (id,) = await added(product, 5)
    await product.send(reserve(new_id(), (id, 3)))
    async with product.as_staff() as staff:
        refused = await staff.put(f"/stock/{id}", json={"on_hand": 2})
        assert (refused.status_code, refused.json()["code"], refused.json()["reserved"]) == (
            409,
            "stock_is_reserved",
            3,
        )
        assert (await staff.put(f"/stock/{id}", json={"on_hand": 3})).json()["on_hand"] == 3
    assert await stock_of(product, id) == (3, 3, 0)


NEW = {"id": "0193b2a0-0000-7000-8000-000000000000", "name": "Tea", "category": "Tea", "price_cents": 1}
BAD_PRODUCTS = {
    "price": {"price_cents": 0},
    "text as price": {"price_cents": "cheap"},
    "no name": {"name": " "},
    "control character": {"name": "a\x00b"},
    "currency": {"currency": "euro"},
    "stock": {"on_hand": -1},
    "unknown field": {"colour": "green"},
}


@pytest.mark.parametrize("bad", BAD_PRODUCTS.values(), ids=BAD_PRODUCTS)
async def test_a_product_that_does_not_fit_is_refused_by_field(product: Launched, bad: dict[str, object]) -> None:
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
async def test_bad_questions(product: Launched, path: str, status: int, code: str) -> None:
    async with product.as_customer() as client:
        answer = await client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_customers_look_and_do_not_touch(product: Launched) -> None:
    (id,) = await added(product, 5)
    async with product.client() as nobody, product.as_customer() as customer:
        assert (await nobody.get("/products")).status_code == 401
        assert (await customer.get("/products")).status_code == 200
        attempts = [
            await customer.post("/products", json=[NEW]),
            await customer.patch(f"/products/{id}", json={"price_cents": 1}),
            await customer.put(f"/stock/{id}", json={"on_hand": 0}),
            await customer.get("/stock", params={"ids": str(id)}),
            await customer.get("/totals"),
        ]
    assert {(it.status_code, it.json()["code"]) for it in attempts} == {(403, "forbidden")}
    assert await stock_of(product, id) == (5, 0, 0)


async def test_there_is_no_reservation_without_a_trace(product: Launched) -> None:
    """Every order that was answered has its row, so that stock can be checked against orders."""
    (id,) = await added(product, 1)
    orders = [new_id() for _ in range(3)]
    await product.send(*[reserve(order, (id, 1)) for order in orders])
    holds = {it.order_id: it.hold for it in await product.rows(Reservation)}
    assert [holds[order] for order in orders] == ["reserved", "rejected", "rejected"]
