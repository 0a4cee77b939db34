"""Apache Pulsar from its jars: it listens on this machine alone, and its messages and retention are as configured."""

import asyncio
from datetime import UTC, datetime
from uuid import uuid4

import httpx
import psutil
import pytest

from chassis.brokers.port import TopicMismatch
from chassis.brokers.pulsar import PulsarBroker
from chassis.message import Envelope
from local.pulsar import Pulsar


async def received(broker: PulsarBroker, group: str, last: bytes) -> list[bytes]:
    """The bodies that a group receives, up to this one."""
    subscription = await broker.subscribe(["cups.events"], group)
    bodies: list[bytes] = []
    while last not in bodies:
        bodies += [it.body for it in await asyncio.wait_for(subscription.receive(10), 20)]
        await subscription.acknowledge()
    await subscription.close()
    return bodies


async def test_pulsar_delivers_its_messages_also_after_kill_9() -> None:
    async with Pulsar.temporary() as server:
        broker = PulsarBroker(server.url)
        await broker.publish([_cup(b"blue"), _cup(b"green")])
        assert await received(broker, "first", b"green") == [b"blue", b"green"]
        server.kill()
        await server.__aenter__()
        await broker.publish([_cup(b"red")])
        assert (await received(broker, "first", b"red"))[-1] == b"red"  # a recent acknowledgement may be lost
        assert await received(broker, "second", b"red") == [
            b"blue",
            b"green",
            b"red",
        ]  # acknowledged messages are retained
        await broker.close()
        assert _addresses(server) == {"127.0.0.1"}
        folder = server.folder
    assert not folder.exists()


async def test_topics_in_a_namespace_with_other_retention_are_refused() -> None:
    with Pulsar.temporary() as server:
        broker = PulsarBroker(server.url, server.admin_url)
        await broker.ensure_topics(["cups.events"])
        await broker.ensure_topics(["cups.events", "pots.events"])
        policies = {"retention": {"retentionTimeInMinutes": 60, "retentionSizeInMB": 512}, "messageTTL": 3600}
        async with httpx.AsyncClient(base_url=f"{server.admin_url}/admin/v2/namespaces/public/default") as admin:
            assert [(await admin.post(policy, json=value)).status_code for policy, value in policies.items()] == [
                204,
                204,
            ]
        with pytest.raises(TopicMismatch) as refused:
            await broker.ensure_topics(["cups.events"])
        for difference in ("Minutes 60, not 10080", "SizeInMB 512, not -1", "ttl_in_seconds 3600, not 0"):
            assert difference in str(refused.value)
        await broker.close()


def _cup(body: bytes) -> Envelope:
    id = uuid4()
    return Envelope("cups.events", "a cup", id, "cups.painted.v1", "test", datetime.now(UTC), body, str(id))


def _addresses(server: Pulsar) -> set[str]:
    """The addresses on which the server listens."""
    assert server.process is not None
    listening = [it for it in psutil.Process(server.process.pid).net_connections() if it.status == psutil.CONN_LISTEN]
    assert {it.laddr.port for it in listening} == {server.port, server.web_port, server.bookie_port}
    return {it.laddr.ip.removeprefix("::ffff:") for it in listening}
