"""A running shop and a customer of it, as load tests and tests see them."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx

from chassis.auth import service_token
from cli.seed import BATCH, products
from local import NAME
from local.server import free_port

ENDED = ("delivered", "cancelled")
FOR_A_WHILE = (409, 429, 500, 502, 503, 504)
START_SECONDS, STOP_SECONDS, PATIENCE_SECONDS = 90, 20, 60


@dataclass
class Shop:
    """A running shop. `told` is what its supervisor writes about itself."""

    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def state(self) -> Path:
        """The folder in which the system keeps what it has."""
        return self.folder / f".{NAME}"

    @property
    def told(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.state / "state.json").read_text())
        return found

    def url(self, name: str) -> str:
        return str(self.told["urls"][name])

    def pid(self, name: str) -> int:
        return next(int(child["pid"]) for child in self.told["children"] if child["name"] == name)

    @property
    def services(self) -> list[str]:
        """The names of those that have a database."""
        return sorted(self.told["secrets"]["database"])

    @property
    def service(self) -> dict[str, str]:
        """The headers of a service."""
        return {"authorization": f"Bearer {service_token('test', self.told['service_key'])}"}

    def staff(self) -> httpx.AsyncClient:
        """The internal listener, with the rights of a service."""
        return httpx.AsyncClient(base_url=self.url("internal"), headers=self.service, timeout=15)

    @property
    def superuser_url(self) -> str:
        password = (self.state / "postgres" / "superuser").read_text()
        return f"postgresql://postgres:{password}@{self.url('postgres')}/postgres"

    @asynccontextmanager
    async def database(self, service: str) -> AsyncIterator["asyncpg.Connection[Any]"]:
        """As the superuser, so that PostgreSQL knows from each other what the service asks and what is asked here."""
        connection = await asyncpg.connect(self.superuser_url.removesuffix("postgres") + service)
        try:
            yield connection
        finally:
            await connection.close()

    @asynccontextmanager
    async def customer(self) -> AsyncIterator["Customer"]:
        """Somebody new, with an account and an address."""
        async with httpx.AsyncClient(base_url=f"{self.url('public')}/api/v1", timeout=15) as http:
            account = {"email": f"{uuid4().hex}@example.com", "password": uuid4().hex, "name": "Ada Test"}
            await persist(lambda: http.post("/accounts", json=account))
            credentials = {"grant_type": "password", "email": account["email"], "password": account["password"]}
            tokens = (await persist(lambda: http.post("/tokens", json=credentials))).json()
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

    async def put(self, product_id: str, quantity: int = 1) -> httpx.Response:
        """So many of a product into the cart."""
        return await self.http.put(f"/cart/lines/{product_id}", json={"quantity": quantity})

    async def fill_cart(self, product_id: str, quantity: int = 1) -> None:
        await _ok(self.put(product_id, quantity))

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


async def persist(ask: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
    """Ask as a good client does: again, with the same key if it has one, until it is done."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            answer = await ask()
            if answer.is_success:
                return answer
            assert answer.status_code in FOR_A_WHILE, answer.text
            assert time.monotonic() < until, answer.text
        except httpx.TransportError:
            assert time.monotonic() < until, "no answer"
        await asyncio.sleep(0.2)


async def _ok(answer: Any) -> Any:
    response = await answer
    assert response.is_success, f"{response.request.method} {response.request.url}: {response.text}"
    return response.json()


Open = Callable[..., Shop]


@contextmanager
def open_shop(variables: Mapping[str, str], folder: Path | None = None, size: int = 50) -> Iterator[Shop]:
    """The whole shop as `run` starts it, with so many products, on ports of its own; stopped at the end.

    What it wrote goes with it, unless it was given a folder.
    """
    home = folder or Path(tempfile.mkdtemp(prefix="shop-"))
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o711)  # PostgreSQL may run as another user, who has to get there
    ports = {f"{name}_PORT": str(free_port()) for name in ("PUBLIC", "INTERNAL", "HOOKS")}
    environment = {**os.environ, **ports, **variables}
    command = [sys.executable, "-m", "cli", "run", "--seed", "0"]
    with (home / "run.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=home, env=environment, stdout=log, stderr=log)
    try:
        shop = Shop(home, process)
        _wait_until_ready(shop)
        _seed(shop, size)
        yield shop
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=STOP_SECONDS)
        if folder is None:
            shutil.rmtree(home)


def _wait_until_ready(shop: Shop) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if shop.process.poll() is not None:
            break
        if (shop.state / "state.json").exists() and shop.told.get("ready_seconds") is not None:
            return
        time.sleep(0.1)
    raise RuntimeError(f"the shop does not start: {(shop.folder / 'run.log').read_text()}")


def _seed(shop: Shop, size: int) -> None:
    left = products(size)
    with httpx.Client(headers=shop.service, timeout=30) as http:
        while batch := list(islice(left, BATCH)):
            http.post(f"{shop.url('internal')}/product/products", json=batch).raise_for_status()
