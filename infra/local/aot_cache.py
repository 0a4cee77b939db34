"""Records a start of Kafka or Pulsar, so that later ones are faster: `python -m local.aot_cache kafka`.

A throw-away server of lowest priority takes and gives messages while the Java runtime notes what it loads; the notes
become the file that `local.java` looks for. Half a minute of one core, once per user, beside the first run.
"""

import asyncio
import os
import subprocess
import sys
from datetime import UTC, datetime
from uuid import uuid4

from chassis.messaging.broker import Broker
from chassis.messaging.kafka import KafkaBroker
from chassis.messaging.message import Envelope
from chassis.messaging.pulsar import PulsarBroker
from local.errors import CommandError
from local.jars import CACHE, exclusive
from local.java import JavaServer
from local.kafka import Kafka
from local.pulsar import Pulsar
from local.server import free_port


def record(kind: type[JavaServer]) -> None:
    file = kind.recording()
    with exclusive(file.with_suffix(".lock")):
        if file.exists():
            return
        notes, unfinished = file.with_suffix(".notes"), file.with_suffix(".unfinished")
        asyncio.run(_take_notes(kind, ["-XX:AOTMode=record", f"-XX:AOTConfiguration={notes}"]))
        options = ["-XX:AOTMode=create", f"-XX:AOTConfiguration={notes}", f"-XX:AOTCache={unfinished}"]
        done = subprocess.run(kind.java(*options), capture_output=True, text=True)
        notes.unlink(missing_ok=True)
        if done.returncode != 0:
            said = f"{done.stdout[-500:]}{done.stderr[-500:]}"
            raise CommandError(f"the start of {kind.name} could not be recorded: {said}")
        unfinished.rename(file)


async def _take_notes(kind: type[JavaServer], java_options: list[str]) -> None:
    server = kind(CACHE / f"recording-{kind.name}", free_port(), durable=False, java_options=java_options)
    server.stop_seconds = 120  # it writes its notes when it is asked to stop
    server.remove()  # what an interrupted recording has left
    async with server:
        await _messages(PulsarBroker(server.url) if isinstance(server, Pulsar) else KafkaBroker(server.address, ""))
    server.remove()


async def _messages(broker: Broker) -> None:
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
    record(Pulsar if sys.argv[1] == Pulsar.name else Kafka)
