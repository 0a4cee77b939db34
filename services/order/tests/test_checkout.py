"""The cart, quotes and the checkout, against the real product, shipping and user services."""

import asyncio
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from chassis.database import new_id
from chassis.process.ports import reserve_port
from chassis.service import installed
from chassis.testing import Launch, Launched
from contracts.product import ReserveStock
from contracts.user import ReportErasure, UserErased
from order.main import service
from order.models import Cart, Order, Quote

CARD = "tok_visa"


@dataclass
class Buyer:
    """A customer with an address, who uses the API of order, and the services that order calls."""

    order: Launched
    product: Launched
    shipping: Launched
    user: Launched
    http: httpx.AsyncClient
    address_id: str
    product_id: str

    async def put_line(self, quantity: object = 1, product_id: str | None = None) -> httpx.Response:
        return await self.http.put(f"/cart/lines/{product_id or self.product_id}", json={"quantity": quantity})

    async def check_out(self, key: str | None = None, **changes: object) -> httpx.Response:
        body = {"address_id": self.address_id, "payment_token": CARD, **changes}
        return await self.http.post("/checkouts", json=body, headers={"Idempotency-Key": key or str(uuid4())})

    async def request_quote(self) -> Any:
        return (await self.http.post("/quotes", json={"address_id": self.address_id})).json()

    async def change_price(self, price_cents: int) -> None:
        async with self.product.as_service() as staff:
            (await staff.patch(f"/products/{self.product_id}", json={"price_cents": price_cents})).raise_for_status()


@pytest.fixture
async def buyer(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> Buyer:
    monkeypatch.setenv("CARRIER_WEBHOOK_SECRET", "c2VjcmV0")
    ports = {name: reserve_port() for name in ("product", "shipping", "user")}
    for name, port in ports.items():
        monkeypatch.setenv(f"{name.upper()}_URL", f"http://127.0.0.1:{port}")
    product, shipping, user = [await launch(installed(name)[name], port=port) for name, port in ports.items()]
    order = await launch(service)
    lamp = {"id": str(new_id()), "name": "Lamp", "description": "", "category": "Lighting", "price_cents": 500}
    async with product.as_service() as staff:
        (await staff.post("/products", json=[{**lamp, "currency": "EUR", "on_hand": 10}])).raise_for_status()
    http, address_id = await _register(order, user)
    return Buyer(order, product, shipping, user, http, address_id, str(lamp["id"]))


async def _register(order: Launched, user: Launched) -> tuple[httpx.AsyncClient, str]:
    """Register an account; returns a client of order with its token, and the id of its address."""
    account = {"email": f"{uuid4().hex}@example.com", "password": uuid4().hex, "name": "Ada"}
    home = {"name": "Ada", "street": "1 Street", "postcode": "10115", "city": "Berlin", "country": "DE"}
    async with user.client() as http:
        (await http.post("/accounts", json=account)).raise_for_status()
        credentials = {"grant_type": "password", "email": account["email"], "password": account["password"]}
        access_token = (await http.post("/tokens", json=credentials)).json()["access_token"]
        http.headers["authorization"] = f"Bearer {access_token}"
        address = (await http.post("/me/addresses", json=home)).json()
    return order.client(access_token), str(address["id"])


def status_and_code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_a_checkout_makes_an_order_of_the_cart(buyer: Buyer) -> None:
    assert (await buyer.put_line(2)).json()["total_cents"] == 1000
    answer = await buyer.check_out()
    placed = answer.json()
    assert (answer.status_code, placed["status"], placed["total_cents"]) == (202, "placed", 1000 + 490)
    assert (await buyer.http.get("/cart")).json()["lines"] == []
    await buyer.order.settled()
    (command,) = await buyer.order.sent(ReserveStock)
    assert str(command.key) == placed["order_id"]
    (listed,) = (await buyer.http.get("/orders")).json()["items"]
    assert listed == (await buyer.http.get(f"/orders/{placed['order_id']}")).json()


async def test_a_cart_has_one_line_for_each_product_and_can_be_emptied(buyer: Buyer) -> None:
    await buyer.put_line(1)
    (line,) = (await buyer.put_line(3)).json()["lines"]
    assert line["quantity"] == 3
    assert (await buyer.http.delete(f"/cart/lines/{buyer.product_id}")).json()["lines"] == []


async def test_an_idempotency_key_makes_one_order(buyer: Buyer) -> None:
    await buyer.put_line()
    answers = await asyncio.gather(*[buyer.check_out("same-key") for _ in range(8)])
    assert {answer.status_code for answer in answers} <= {202, 409}
    assert len({answer.json()["order_id"] for answer in answers if answer.status_code == 202}) == 1
    again = await buyer.check_out("same-key")
    assert again.json()["order_id"] in {answer.json().get("order_id") for answer in answers}
    assert status_and_code(await buyer.check_out("same-key", payment_token="tok_other")) == (
        409,
        "idempotency_key_reused",
    )
    assert len(await buyer.order.rows(Order)) == 1


async def test_two_checkouts_of_one_cart_make_one_order(buyer: Buyer) -> None:
    await buyer.put_line()
    answers = await asyncio.gather(*[buyer.check_out() for _ in range(6)])
    assert [answer.status_code for answer in answers].count(202) == 1
    assert len(await buyer.order.rows(Order)) == 1


async def test_a_checkout_at_changed_prices_is_refused_and_keeps_the_cart(buyer: Buyer) -> None:
    await buyer.put_line(2)
    await buyer.change_price(600)
    answer = await buyer.check_out()
    assert status_and_code(answer) == (409, "price_changed")
    assert answer.json()["total_cents"] == 1200 + 490
    assert len(await buyer.order.rows(Cart)) == 1
    accepted = await buyer.check_out(total_cents=1200 + 490)
    assert (accepted.status_code, accepted.json()["lines"][0]["price_cents"]) == (202, 600)


@pytest.mark.parametrize("quantity", [0, -1, 1_001, 1.5, "many", None])
async def test_an_invalid_quantity_is_refused(buyer: Buyer, quantity: object) -> None:
    answer = await buyer.put_line(quantity)
    assert status_and_code(answer) == (422, "invalid_input")
    assert answer.json()["errors"][0]["field"] == "quantity"
    assert await buyer.order.rows(Cart) == []


async def test_unknown_things_are_refused_and_change_nothing(buyer: Buyer) -> None:
    assert status_and_code(await buyer.put_line(1, str(new_id()))) == (404, "product_not_found")
    assert status_and_code(await buyer.check_out()) == (409, "cart_empty")
    await buyer.put_line()
    assert status_and_code(await buyer.check_out(address_id=str(new_id()))) == (422, "unknown_address")
    assert status_and_code(await buyer.check_out(unknown="field")) == (422, "invalid_input")
    assert status_and_code(await buyer.http.post("/checkouts", json={})) == (
        422,
        "invalid_input",
    )  # without an Idempotency-Key, too
    assert await buyer.order.rows(Order) == []
    assert len(await buyer.order.rows(Cart)) == 1


async def test_another_customer_sees_no_order(buyer: Buyer) -> None:
    await buyer.put_line()
    placed = (await buyer.check_out()).json()
    stranger, _ = await _register(buyer.order, buyer.user)
    for path in (f"/orders/{placed['order_id']}", f"/orders/{placed['order_id']}/history", f"/orders/{new_id()}"):
        assert status_and_code(await stranger.get(path)) == (404, "order_not_found")
    assert (await stranger.get("/orders")).json()["items"] == []


async def test_a_quote_holds_when_prices_rise_and_product_is_unavailable(buyer: Buyer) -> None:
    await buyer.put_line(2)
    quote = await buyer.request_quote()
    assert quote["total_cents"] == 1000 + 490
    await buyer.change_price(600)
    buyer.product.instance.stop.set()
    answer = await buyer.check_out(quote_id=quote["id"], total_cents=quote["total_cents"])
    assert (answer.status_code, answer.json()["total_cents"]) == (202, 1490)
    assert answer.json()["lines"] == quote["lines"]
    assert await buyer.order.rows(Quote) == []


async def test_a_quote_is_for_one_order_of_one_cart_of_its_customer(buyer: Buyer) -> None:
    await buyer.put_line(2)
    quote = await buyer.request_quote()
    await buyer.put_line(3)
    assert status_and_code(await buyer.check_out(quote_id=quote["id"])) == (409, "quote_does_not_fit")
    await buyer.put_line(2)
    stranger, address_id = await _register(buyer.order, buyer.user)
    await stranger.put(f"/cart/lines/{buyer.product_id}", json={"quantity": 2})
    body = {"address_id": address_id, "payment_token": CARD, "quote_id": quote["id"]}
    theirs = await stranger.post("/checkouts", json=body, headers={"Idempotency-Key": "their-key"})
    assert status_and_code(theirs) == (409, "quote_expired")
    assert (await buyer.check_out(quote_id=quote["id"])).status_code == 202
    await buyer.put_line(2)
    assert status_and_code(await buyer.check_out(quote_id=quote["id"])) == (409, "quote_expired")
    assert len(await buyer.order.rows(Cart)) == 2  # both carts whose checkout was refused


async def test_a_quote_expires(buyer: Buyer) -> None:
    await buyer.put_line()
    quote = await buyer.request_quote()
    async with buyer.order.instance.database.work() as work:
        (kept,) = await work.lock(Quote, id=[UUID(quote["id"])])
        kept.valid_until = work.now
    assert status_and_code(await buyer.check_out(quote_id=quote["id"])) == (409, "quote_expired")
    await buyer.order.settled()
    assert await buyer.order.rows(Quote) == []


async def test_heavy_goods_cost_more_to_send(buyer: Buyer) -> None:
    await buyer.put_line(1)
    light = (await buyer.request_quote())["shipping_cents"]
    await buyer.put_line(10)
    assert (await buyer.request_quote())["shipping_cents"] > light


async def test_cached_shipping_rates_are_used_while_shipping_is_unavailable(buyer: Buyer) -> None:
    await buyer.put_line()
    first = await buyer.request_quote()
    buyer.shipping.instance.stop.set()
    assert (await buyer.request_quote())["shipping_cents"] == first["shipping_cents"]


async def test_an_untouched_cart_expires(buyer: Buyer) -> None:
    await buyer.put_line()
    async with buyer.order.instance.database.work() as work:
        (mine,) = await work.lock(Cart, id=[(await buyer.order.rows(Cart))[0].id])
        mine.expires_at = work.now
    await buyer.order.settled()
    assert await buyer.order.rows(Cart) == []


async def test_an_erased_customer_leaves_orders_but_no_cart_and_no_quote(buyer: Buyer) -> None:
    await buyer.put_line()
    placed = (await buyer.check_out()).json()
    await buyer.put_line()
    await buyer.request_quote()
    customer, erasure = UUID(placed["customer_id"]), new_id()
    await buyer.order.send(UserErased(user_id=customer, erasure_id=erasure))
    assert await buyer.order.rows(Cart) == []
    assert await buyer.order.rows(Quote) == []
    assert len(await buyer.order.rows(Order)) == 1
    assert await buyer.order.sent(ReportErasure) == [
        ReportErasure(user_id=customer, erasure_id=erasure, service="order", rows=2)
    ]


async def test_a_withdrawn_product_stays_in_the_cart_and_is_named(buyer: Buyer) -> None:
    await buyer.put_line(2)
    async with buyer.product.as_service() as staff:
        (await staff.delete(f"/products/{buyer.product_id}")).raise_for_status()
    answer = await buyer.check_out()
    assert status_and_code(answer) == (404, "product_not_found")
    assert "Lamp" in answer.json()["detail"]
    assert len((await buyer.http.get("/cart")).json()["lines"]) == 1
