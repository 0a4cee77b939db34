"""Servers that the tests of one xdist group share: they end with the group, and idle beside no other tests."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest

from brokers.proxy import Proxy
from chassis.process.ports import reserve_port
from local.kafka import Kafka
from local.pulsar import Pulsar

Servers = Callable[[str], tuple[Kafka | Pulsar, Proxy]]  # by the name of the broker


class GroupServers:
    """Each runs from the first test of a group that asks for it to the last test of the group."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._running: dict[str, Any] = {}

    def get(self, name: str, start: Callable[[], AbstractContextManager[Any]]) -> Any:
        if name not in self._running:
            self._running[name] = self._stack.enter_context(start())
        return self._running[name]

    def stop(self) -> None:
        self._running.clear()
        self._stack.close()


def group_of(item: pytest.Item) -> str:
    mark = item.get_closest_marker("xdist_group")
    return str(mark.args[0]) if mark else ""


def new_broker(name: str, folder: Path) -> tuple[Kafka | Pulsar, Proxy]:
    """A server with a second door, for those who come through the proxy: a broker tells its clients where to go."""
    proxy = Proxy(reserve_port(), reserve_port())
    there, behind = f"127.0.0.1:{proxy.port}", f"127.0.0.1:{proxy.behind}"
    if name == "kafka":
        kafka = Kafka(folder, reserve_port(), durable=False)
        kafka.properties = {
            "listeners": f"PLAINTEXT://{kafka.address},CONTROLLER://127.0.0.1:{kafka.controller_port},PROXY://{behind}",
            "advertised.listeners": f"PLAINTEXT://{kafka.address},PROXY://{there}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXY:PLAINTEXT",
            "group.min.session.timeout.ms": "500",  # 6 s otherwise
        }
        return kafka, proxy
    pulsar = Pulsar(folder, reserve_port(), durable=False)
    pulsar.properties = {
        "bindAddresses": f"proxy:pulsar://{behind}",
        "advertisedListeners": f"direct:{pulsar.url},proxy:pulsar://{there}",
        "internalListenerName": "direct",
    }
    return pulsar, proxy
