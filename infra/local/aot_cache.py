"""Builds the AOT cache of Kafka or Pulsar, so that later starts are faster: `python -m local.aot_cache kafka`.

A throw-away server of lowest priority receives and delivers messages while the Java runtime records the classes that it
loads. The recording becomes the file that `local.java` looks for. This takes half a minute of one core, once per user,
beside the first run.
"""

import asyncio
import os
import subprocess
import sys
from datetime import UTC, datetime
from uuid import uuid4

from chassis.brokers.kafka import KafkaBroker
from chassis.brokers.port import Broker
from chassis.brokers.pulsar import PulsarBroker
from chassis.message import Envelope
from chassis.process.ports import reserve_port
from local.errors import CommandError
from local.jars import CACHE, exclusive_lock
from local.java import JavaServer
from local.kafka import Kafka
from local.pulsar import Pulsar


def build_aot_cache(kind: type[JavaServer]) -> None:
    file = kind.aot_cache_path()
    with exclusive_lock(file.with_suffix(".lock")):
        if file.exists():
            return
        recording, unfinished = file.with_suffix(".recording"), file.with_suffix(".unfinished")
        asyncio.run(_record_start(kind, ["-XX:AOTMode=record", f"-XX:AOTConfiguration={recording}"]))
        options = ["-XX:AOTMode=create", f"-XX:AOTConfiguration={recording}", f"-XX:AOTCache={unfinished}"]
        done = subprocess.run(kind.java_command(*options), capture_output=True, text=True)
        recording.unlink(missing_ok=True)
        if done.returncode != 0:
            output = f"{done.stdout[-500:]}{done.stderr[-500:]}"
            raise CommandError(f"the AOT cache of {kind.name} could not be built: {output}")
        unfinished.rename(file)


async def _record_start(kind: type[JavaServer], java_options: list[str]) -> None:
    server = kind(CACHE / f"recording-{kind.name}", reserve_port(), durable=False, java_options=java_options)
    server.stop_seconds = 120  # the runtime writes its recording when it stops
    server.remove()  # what an interrupted recording has left
    async with server:
        broker = PulsarBroker(server.url) if isinstance(server, Pulsar) else KafkaBroker(server.address, "")
        await _exchange_messages(broker)
    server.remove()


async def _exchange_messages(broker: Broker) -> None:
    id = uuid4()
    envelope = Envelope("recording", "key", id, "recording.one.v1", "recording", datetime.now(UTC), b"{}", str(id))
    await broker.publish([envelope])
    subscription = await broker.subscribe(["recording"], "recording")
    await subscription.receive(1)
    await subscription.acknowledge()
    await subscription.close()
    await broker.close()


if __name__ == "__main__":
    os.nice(19)
    build_aot_cache(Pulsar if sys.argv[1] == Pulsar.name else Kafka)
