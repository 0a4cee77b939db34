"""A running shop and its customers, for load tests and tests."""

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

from chassis.calls.auth import service_token
from chassis.process.ports import reserve_port
from cli.seed import BATCH, products
from loadtests.plan import Account
from local import NAME
from local.process import popen_options

HOME = {"name": "Ada", "street": "1 Test Street", "postcode": "10115", "city": "Berlin", "country": "DE"}
ENDED = ("delivered", "cancelled")
RETRYABLE = (409, 429, 500, 502, 503, 504)
START_SECONDS, STOP_SECONDS, PATIENCE_SECONDS = 180, 20, 60


@dataclass
class Shop:
    """A running shop."""

    folder: Path

    @property
    def state_folder(self) -> Path:
        """The folder with the data, secrets and logs of the system."""
        return self.folder / f".{NAME}"

    @property
    def running(self) -> dict[str, Any]:
        """What the supervisor writes about the running system: `local.state.RunningSystem` as JSON."""
        system: dict[str, Any] = json.loads((self.state_folder / "running.json").read_text())
        return system

    def url(self, name: str) -> str:
        return str(self.running["urls"][name])

    def pid(self, name: str) -> int:
        return next(int(child["pid"]) for child in self.running["children"] if child["name"] == name)

    @property
    def services(self) -> list[str]:
        """The names of all services."""
        return sorted(self.running["secrets"]["database"])

    @property
    def service_headers(self) -> dict[str, str]:
        """The headers of a request by a service."""
        return {"authorization": f"Bearer {service_token('test', self.running['service_key'])}"}

    def staff(self) -> httpx.AsyncClient:
        """The internal listener, with the rights of a service."""
        return httpx.AsyncClient(base_url=self.url("internal"), headers=self.service_headers, timeout=15)

    @property
    def superuser_url(self) -> str:
        password = (self.state_folder / "postgres" / "superuser").read_text()
        return f"postgresql://postgres:{password}@{self.url('postgres')}/postgres"

    @asynccontextmanager
    async def database(self, service: str) -> AsyncIterator["asyncpg.Connection[Any]"]:
        """As the superuser, so that PostgreSQL tells apart the statements of the service and those of the caller."""
        connection = await asyncpg.connect(self.superuser_url.removesuffix("postgres") + service)
        try:
            yield connection
        finally:
            await connection.close()

    @asynccontextmanager
    async def customer(self) -> AsyncIterator["Customer"]:
        """A new customer, with an account and an address."""
        async with httpx.AsyncClient(base_url=f"{self.url('public')}/api/v1", timeout=15) as http:
            account = await register(http)
            http.headers["authorization"] = f"Bearer {account.access_token}"
            yield Customer(self, http, account.address_id)


@dataclass
class Customer:
    """A customer who buys, and waits for the end of the order."""

    shop: Shop
    http: httpx.AsyncClient
    address_id: str

    async def put_in_cart(self, product_id: str, quantity: int = 1) -> httpx.Response:
        return await self.http.put(f"/cart/lines/{product_id}", json={"quantity": quantity})

    async def fill_cart(self, product_id: str, quantity: int = 1) -> None:
        await _ok(self.put_in_cart(product_id, quantity))

    async def check_out(self, card: str = "tok_visa", key: str | None = None) -> httpx.Response:
        body = {"address_id": self.address_id, "payment_token": card}
        return await self.http.post("/checkouts", json=body, headers={"Idempotency-Key": key or str(uuid4())})

    async def buy(self, product_id: str, quantity: int = 1, card: str = "tok_visa") -> UUID:
        await self.fill_cart(product_id, quantity)
        return UUID((await _ok(self.check_out(card)))["order_id"])

    async def wait_until_ended(self, order_id: UUID, seconds: float = 60) -> dict[str, Any]:
        """Wait until the order is delivered or cancelled. Returns it as the public API shows it."""
        until = time.monotonic() + seconds
        while (order := await _ok(self.http.get(f"/orders/{order_id}")))["status"] not in ENDED:
            assert time.monotonic() < until, f"not ended after {seconds} s: {order}"
            await asyncio.sleep(0.05)
        return dict(order)


async def register(http: httpx.AsyncClient) -> Account:
    """A new customer with an address, signed in."""
    account = {"email": f"{uuid4().hex}@example.com", "password": uuid4().hex, "name": "Ada Test"}
    created = (await retry_until_success(lambda: http.post("/accounts", json=account))).json()
    credentials = {"grant_type": "password", "email": account["email"], "password": account["password"]}
    tokens = (await retry_until_success(lambda: http.post("/tokens", json=credentials))).json()
    bearer = {"authorization": f"Bearer {tokens['access_token']}"}
    address = await retry_until_success(lambda: http.post("/me/addresses", json=HOME, headers=bearer))
    ends = time.time() + tokens["expires_in"]
    return Account(created["id"], tokens["access_token"], ends, tokens["refresh_token"], address.json()["id"])


async def retry_until_success(send: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
    """Send a request again until it succeeds, as a good client does: with the same idempotency key each time."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            answer = await send()
            if answer.is_success:
                return answer
            assert answer.status_code in RETRYABLE, answer.text
            assert time.monotonic() < until, answer.text
        except httpx.TransportError:
            assert time.monotonic() < until, "no answer"
        await asyncio.sleep(0.2)


async def _ok(answer: Any) -> Any:
    response = await answer
    assert response.is_success, f"{response.request.method} {response.request.url}: {response.text}"
    return response.json()


OpenShop = Callable[..., Shop]


@contextmanager
def open_shop(variables: Mapping[str, str], folder: Path | None = None, size: int = 50) -> Iterator[Shop]:
    """The whole shop as `agora run` starts it, on free ports, with `size` products; stopped at the end.

    Its data is deleted at the end, unless a folder is given. When this process is killed, the shop stops, too.
    """
    home = folder or Path(tempfile.mkdtemp(prefix="shop-"))
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o711)  # PostgreSQL may run as another user, which has to reach the folder
    ports = {f"{name}_PORT": str(reserve_port()) for name in ("PUBLIC", "INTERNAL", "HOOKS")}
    environment = {**os.environ, **ports, **variables}
    command = [sys.executable, "-m", "cli", "run", "--seed", "0"]
    with (home / "run.log").open("wb") as log:
        options = popen_options(log, environment, None, signal.SIGTERM)
        process = subprocess.Popen(command, cwd=home, **options)
    try:
        shop = Shop(home)
        _wait_until_ready(shop, process)
        _seed(shop, size)
        yield shop
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=STOP_SECONDS)
        if folder is None:
            shutil.rmtree(home)


def _wait_until_ready(shop: Shop, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        if (shop.state_folder / "running.json").exists() and shop.running.get("ready_seconds") is not None:
            return
        time.sleep(0.1)
    raise RuntimeError(f"the shop does not start: {(shop.folder / 'run.log').read_text()}")


def _seed(shop: Shop, size: int) -> None:
    remaining = products(size)
    with httpx.Client(headers=shop.service_headers, timeout=30) as http:
        while batch := list(islice(remaining, BATCH)):
            http.post(f"{shop.url('internal')}/product/products", json=batch).raise_for_status()
