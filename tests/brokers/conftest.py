"""Each test of the suite gets every broker in turn that has the abilities it needs."""

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from brokers.proxy import Proxy
from brokers.subject import ABLE, NETWORK, Subject
from local.kafka import Kafka
from local.pulsar import Pulsar
from local.server import free_port

Servers = Callable[[str], tuple[Kafka | Pulsar, Proxy]]


def new_server(name: str, folder: Path) -> tuple[Kafka | Pulsar, Proxy]:
    """A server with a second door, for those who come through the proxy: a broker tells its clients where to go."""
    proxy = Proxy(free_port(), free_port())
    there, behind = f"127.0.0.1:{proxy.port}", f"127.0.0.1:{proxy.behind}"
    if name == "kafka":
        kafka = Kafka(folder, free_port(), durable=False)
        kafka.properties = {
            "listeners": f"PLAINTEXT://{kafka.address},CONTROLLER://127.0.0.1:{kafka.controller_port},PROXY://{behind}",
            "advertised.listeners": f"PLAINTEXT://{kafka.address},PROXY://{there}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXY:PLAINTEXT",
        }
        return kafka, proxy
    pulsar = Pulsar(folder, free_port(), durable=False)
    pulsar.properties = {
        "bindAddresses": f"proxy:pulsar://{behind}",
        "advertisedListeners": f"direct:{pulsar.url},proxy:pulsar://{there}",
        "internalListenerName": "direct",
    }
    return pulsar, proxy


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Started when the first test asks."""
    started: dict[str, tuple[Kafka | Pulsar, Proxy]] = {}
    with ExitStack() as stack:

        def server(name: str) -> tuple[Kafka | Pulsar, Proxy]:
            if name not in started:
                started[name] = new_server(name, tmp_path_factory.mktemp(name))
                stack.enter_context(started[name][0])
            return started[name]

        yield server


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in ABLE])
async def broker(request: pytest.FixtureRequest, servers: Servers, tmp_path: Path) -> AsyncIterator[Subject]:
    name, needed = request.param, getattr(inspect.unwrap(request.function), "needs", ())
    for ability in needed:
        if ability not in ABLE[name]:
            pytest.skip(f"{name} has not the ability {ability}")
    async with AsyncExitStack() as stack:
        subject = Subject(name, tmp_path, stack)
        if name != "memory":
            subject.server, proxy = servers(name)
            if NETWORK in needed:
                subject.proxy = await stack.enter_async_context(proxy)
        yield subject


@pytest.fixture
def account() -> str:
    """Of this test alone: a broker keeps the messages of the others."""
    return uuid4().hex
