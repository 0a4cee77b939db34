"""A running shop and a customer of it, as tests see them."""

import asyncio
import json
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx

from chassis.auth import service_token
from cli.seed import products

ENDED = ("delivered", "cancelled")


@dataclass
class Shop:
    """A running shop. `told` is what its supervisor writes about itself."""

    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def told(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(next(self.folder.glob(".*/state.json")).read_text())
        return found

    def url(self, name: str) -> str:
        return str(self.told["urls"][name])

    def pid(self, name: str) -> int:
        return next(int(child["pid"]) for child in self.told["children"] if child["name"] == name)

    def staff(self) -> httpx.AsyncClient:
        """The internal listener, with the rights of a service."""
        token = service_token("test", self.told["service_key"])
        return httpx.AsyncClient(
            base_url=self.url("internal"), headers={"authorization": f"Bearer {token}"}, timeout=15
        )

    @asynccontextmanager
    async def database(self, service: str) -> AsyncIterator["asyncpg.Connection[Any]"]:
        password = self.told["secrets"]["database"][service]
        connection = await asyncpg.connect(f"postgresql://{service}:{password}@{self.url('postgres')}/{service}")
        try:
            yield connection
        finally:
            await connection.close()

    @asynccontextmanager
    async def customer(self) -> AsyncIterator["Customer"]:
        """Somebody new, with an account and an address."""
        async with httpx.AsyncClient(base_url=f"{self.url('public')}/api/v1", timeout=15) as http:
            account = {"email": f"{uuid4().hex}@example.com", "password": uuid4().hex, "name": "Ada Test"}
            await _ok(http.post("/accounts", json=account))
            credentials = {"grant_type": "password", "email": account["email"], "password": account["password"]}
            tokens = await _ok(http.post("/tokens", json=credentials))
            http.headers["authorization"] = f"Bearer {tokens['access_token']}"
            home = {"name": "Ada", "street": "1 Test Street", "postcode": "10115", "city": "Berlin", "country": "DE"}
            address = await _ok(http.post("/me/addresses", json=home))
            yield Customer(self, http, address["id"])


@dataclass
class Customer:
    """Buys, and waits for what becomes of it."""

    shop: Shop
    http: httpx.AsyncClient
    address_id: str

    async def fill_cart(self, product_id: str, quantity: int = 1) -> None:
        await _ok(self.http.put(f"/cart/lines/{product_id}", json={"quantity": quantity}))

    async def check_out(self, card: str = "tok_visa", key: str | None = None) -> httpx.Response:
        body = {"address_id": self.address_id, "payment_token": card}
        return await self.http.post("/checkouts", json=body, headers={"Idempotency-Key": key or str(uuid4())})

    async def buy(self, product_id: str, quantity: int = 1, card: str = "tok_visa") -> UUID:
        await self.fill_cart(product_id, quantity)
        return UUID((await _ok(self.check_out(card)))["order_id"])

    async def ended(self, order_id: UUID, seconds: float = 60) -> dict[str, Any]:
        """The order as the public API shows it once it has ended."""
        until = time.monotonic() + seconds
        while (order := await _ok(self.http.get(f"/orders/{order_id}")))["status"] not in ENDED:
            assert time.monotonic() < until, f"not ended after {seconds} s: {order}"
            await asyncio.sleep(0.05)
        return dict(order)


async def _ok(answer: Any) -> Any:
    response = await answer
    assert response.is_success, f"{response.request.method} {response.request.url}: {response.text}"
    return response.json()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


Open = Callable[..., Shop]


def wait_until_ready(shop: Shop) -> None:
    until = time.monotonic() + 90
    while time.monotonic() < until:
        if shop.process.poll() is not None:
            break
        if any(shop.folder.glob(".*/state.json")) and shop.told.get("ready_seconds") is not None:
            return
        time.sleep(0.1)
    raise AssertionError(f"the shop does not start: {(shop.folder / 'run.log').read_text()}")


def seed(shop: Shop) -> None:
    token = service_token("test", shop.told["service_key"])
    with httpx.Client(headers={"authorization": f"Bearer {token}"}, timeout=30) as http:
        http.post(f"{shop.url('internal')}/product/products", json=list(products(50))).raise_for_status()
