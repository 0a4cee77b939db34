"""A client that is generated from the public document buys: with typed models alone, through the gateway."""

import importlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import pytest

from loadtests.shop import Shop

pytestmark = [pytest.mark.xdist_group("shop"), pytest.mark.usefixtures("left_at_rest")]

DOCUMENT = Path(__file__).parent.parent / "docs/api/aggregator.public.json"
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of the generated package. The generator has nothing to warn about."""
    folder, name = tmp_path_factory.mktemp("client"), "agora_client"
    command = [str(BIN / "openapi-python-client"), "generate", "--path", str(DOCUMENT), "--meta", "none"]
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"  # the generator formats with ruff
    ran = subprocess.run(
        [*command, "--output-path", str(folder / name), "--fail-on-warning"],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    sys.path.insert(0, str(folder))
    yield name
    sys.path.remove(str(folder))


async def test_a_generated_client_registers_buys_and_follows_the_order_until_it_is_delivered(
    shop: Shop, package: str
) -> None:
    def api(name: str) -> ModuleType:
        return importlib.import_module(f"{package}.api.{name}")

    models, client = importlib.import_module(f"{package}.models"), importlib.import_module(f"{package}.client")
    anyone = client.Client(base_url=shop.url("public"), raise_on_unexpected_status=True)
    email, password = f"{uuid4().hex}@example.com", uuid4().hex

    account = models.RegisterAccount(email=email, password=password, name="Ada Test")
    registered = await api("account.register_account").asyncio(client=anyone, body=account)
    assert isinstance(registered, models.AccountView)
    credentials = models.SignIn(grant_type="password", email=email, password=password)
    tokens = await api("sessions.issue_tokens").asyncio(client=anyone, body=credentials)
    assert isinstance(tokens, models.TokensView)

    me = client.AuthenticatedClient(
        base_url=shop.url("public"), token=tokens.access_token, raise_on_unexpected_status=True
    )
    home = models.AddAddress(name="Ada", street="1 Test Street", postcode="10115", city="Berlin", country="DE")
    address = await api("account.add_address").asyncio(client=me, body=home)
    products = await api("catalogue.list_products").asyncio(client=anyone, limit=1)
    one = models.PutCartLine(quantity=1)
    cart = await api("checkout.put_cart_line").asyncio(products.items[0].id, client=me, body=one)
    assert isinstance(cart, models.CartView)
    quote = await api("checkout.request_quote").asyncio(client=me, body=models.RequestQuote(address_id=address.id))
    body = models.PlaceOrder(address_id=address.id, payment_token="tok_visa", quote_id=quote.id)
    answer = await api("checkout.place_order").asyncio_detailed(client=me, body=body, idempotency_key=str(uuid4()))
    assert answer.headers["location"] == f"/api/v1/orders/{answer.parsed.order_id}"

    order = await _follow(api("orders.get_order"), me, answer.parsed, models.OrderStatus)
    assert [step.status for step in order.steps] == ["placed", "reserved", "confirmed", "shipped", "delivered"]
    assert (order.total_cents, order.partial) == (quote.total_cents, [])

    refused = await api("orders.cancel_order").asyncio(order.order_id, client=me)
    assert isinstance(refused, models.Problem)
    assert refused.code == "order_already_shipped"


async def _follow(get_order: ModuleType, client: Any, order: Any, status: Any) -> Any:
    until = time.monotonic() + 60
    while order.status != status.DELIVERED:
        assert time.monotonic() < until, order
        order = await get_order.asyncio(order.order_id, client=client, version=order.version + 1)
    return order
