"""Every service answers as its OpenAPI documents say, whatever a client sends: checked by Schemathesis.

`make test` sends the same requests each time; with LONG=1 they are more, and others in each run.
"""

import asyncio
import json
import os
import sys
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from chassis.brokers.memory import MemoryBroker
from chassis.database import new_id
from chassis.process.ports import reserve_port
from chassis.service import installed
from chassis.testing import Launch, Launched
from chassis.web.openapi import audiences_of, document
from simulators.server import Simulators

HOOKS = Path(__file__).with_name("schemathesis_hooks.py")
MAX_EXAMPLES = 100 if os.environ.get("LONG") else 3  # for each operation and phase, beside those of its schemas' edges
SECRET = b64encode(b"a secret of this test").decode()
PASSWORD = "correct horse battery staple"
HOME = {"name": "Ada", "street": "1 Street", "postcode": "10115", "city": "Berlin", "country": "DE"}

# The history of prices is kept for good, so that the price in an old order can be checked.
NOT_CHECKED = {"GET /products/{product_id}/prices": "use_after_free"}


@dataclass
class System:
    """All services, a member of staff who is a customer too, and what there is to ask about."""

    services: dict[str, Launched]
    token: str
    known: dict[str, str]  # path and body parameters, with a value that exists


@pytest.fixture(scope="module")
def simulators() -> Iterator[Simulators]:
    with Simulators.temporary() as running:
        yield running


@pytest.fixture
async def system(launch: Launch, simulators: Simulators, monkeypatch: pytest.MonkeyPatch) -> System:
    """All services on the memory broker, which call each other, and one order."""
    ports = {name: reserve_port() for name in installed()}
    for name, port in ports.items():
        monkeypatch.setenv(f"{name.upper()}_URL", f"http://127.0.0.1:{port}")
    for service, partner in (("PAYMENT", "PROVIDER"), ("SHIPPING", "CARRIER")):
        monkeypatch.setenv(f"{service}_{partner}_URL", simulators.url)
        monkeypatch.setenv(f"{service}_{partner}_WEBHOOK_SECRET", SECRET)
    hook = f"http://127.0.0.1:{ports['shipping']}/hooks/carrier"
    settings = {"dispatch_seconds": 0.1, "deliver_seconds": 0.1, "carrier_webhook_url": hook}
    settings["carrier_webhook_secret"] = SECRET
    async with httpx.AsyncClient() as http:
        await _ok(http.put(f"{simulators.url}/settings", json=settings))
    broker = MemoryBroker()
    services = {name: await launch(service, broker, ports[name]) for name, service in installed().items()}
    token = await _register(services["user"])
    return System(services, token, await _buy(services, token))


async def _register(user: Launched) -> str:
    account = {"email": f"{uuid4().hex}@example.com", "password": PASSWORD, "name": "Ada"}
    credentials = {"grant_type": "password", "email": account["email"], "password": PASSWORD}
    async with user.client() as http, user.as_service() as service:
        await _ok(http.post("/accounts", json=account))
        for role in ("staff", "operator"):
            await _ok(service.post("/role-grants", json={"email": account["email"], "role": role}))
        return str((await _ok(http.post("/tokens", json=credentials)))["access_token"])


async def _buy(services: dict[str, Launched], token: str) -> dict[str, str]:
    lamp = {"id": str(new_id()), "name": "Lamp", "category": "Lighting", "price_cents": 500, "on_hand": 1_000_000}
    async with services["product"].as_service() as staff, services["aggregator"].client(token) as http:
        await _ok(staff.post("/products", json=[lamp]))
        address = await _ok(http.post("/api/v1/me/addresses", json=HOME))
        await _ok(http.put(f"/api/v1/cart/lines/{lamp['id']}", json={"quantity": 1}))
        body = {"address_id": address["id"], "payment_token": "tok_visa"}
        order = await _ok(http.post("/api/v1/checkouts", json=body, headers={"Idempotency-Key": "first"}))
        for _ in range(300):
            if (await _ok(http.get(f"/api/v1/orders/{order['order_id']}")))["status"] == "delivered":
                break
            await asyncio.sleep(0.1)
    known = {"order_id": order["order_id"], "product_id": lamp["id"], "address_id": address["id"]}
    return {f"path.{name}": value for name, value in known.items()} | {"body.address_id": address["id"]}


async def _ok(answer: Any) -> Any:
    response = await answer
    assert response.is_success, response.text
    return response.json()


@pytest.mark.timeout(3600 if os.environ.get("LONG") else 600)
async def test_services_answer_as_their_documents_say(
    system: System, tmp_path: Path, subtests: pytest.Subtests, seed: int
) -> None:
    for name, launched in system.services.items():
        for audience in audiences_of(launched.instance.service):
            with subtests.test(f"{name}.{audience}"):
                described = document(launched.instance.service, audience)
                url = launched.url
                status, output = await _check(described, url, _config(described, system, seed), tmp_path)
                assert status == 0, output


def _config(described: dict[str, Any], system: System, seed: int) -> str:
    lines = [
        f'hooks = "{HOOKS}"',
        f"seed = {seed}",
        "continue-on-failure = true",
        "max-stream-events = 1",
        f"[generation]\nmax-examples = {MAX_EXAMPLES}",
        *(f'[dictionaries."{name}"]\nvalues = ["{value}"]' for name, value in system.known.items()),
        "[checks.positive_data_acceptance]\nenabled = false  # accepts_valid_input takes its place",
        "[parameters]",
        *(f'"{name}" = {{ dictionary = "{name}", probability = 0.5 }}' for name in system.known),
    ]
    lines.append(f'[auth.openapi.HTTPBearer]\nbearer = "{system.token}"')
    services = system.services["user"].as_service().headers["authorization"]
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            for scheme in operation["security"]:
                (roles,) = scheme.values()
                if "service" in roles:
                    lines += ["[[operations]]", f'include-name = "{method.upper()} {path}"']
                    lines.append(f'headers = {{ Authorization = "{services}" }}')
    for name, check in NOT_CHECKED.items():
        lines += ["[[operations]]", f'include-name = "{name}"', f"checks = {{ {check} = {{ enabled = false }} }}"]
    return "\n".join(lines)


async def _check(described: dict[str, Any], url: str, config: str, folder: Path) -> tuple[int | None, str]:
    """The exit status of Schemathesis, and what it printed."""
    (folder / "schemathesis.toml").write_text(config)
    (folder / "document.json").write_text(json.dumps(described))
    command = ["--config-file", "schemathesis.toml", "run", "document.json", "--url", url, "--no-color"]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", *command, "--request-timeout", "10"),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode()
