"""Records a start of Kafka, so that later ones are three times as fast: `python -m local.recording`.

A throw-away Kafka of lowest priority takes and gives a message while the Java runtime notes what it loads; the notes
become the file that `local.kafka` looks for. Half a minute of one core, once per user, beside the first run.
"""

import asyncio
import os
import subprocess

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from local.jars import CACHE, exclusive
from local.kafka import Kafka, java, recording
from local.server import free_port
from local.trouble import Trouble


def record() -> None:
    with exclusive(recording().with_suffix(".lock")):
        if recording().exists():
            return
        notes, unfinished = recording().with_suffix(".notes"), recording().with_suffix(".unfinished")
        asyncio.run(_take_notes(["-XX:AOTMode=record", f"-XX:AOTConfiguration={notes}"]))
        options = ["-XX:AOTMode=create", f"-XX:AOTConfiguration={notes}", f"-XX:AOTCache={unfinished}"]
        done = subprocess.run(java(*options), capture_output=True, text=True)
        notes.unlink(missing_ok=True)
        if done.returncode != 0:
            raise Trouble(f"the start of Kafka could not be recorded: {done.stdout[-500:]}{done.stderr[-500:]}")
        unfinished.rename(recording())


async def _take_notes(java_options: list[str]) -> None:
    server = Kafka(CACHE / "recording", free_port(), durable=False, java_options=java_options)
    server.remove()  # what an interrupted recording has left
    async with server:
        await _one_message(server.address)
    server.remove()


async def _one_message(address: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    await admin.create_topics([NewTopic("recording", 2, 1)])
    await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=address, enable_idempotence=True)
    consumer = AIOKafkaConsumer(
        "recording", bootstrap_servers=address, group_id="recording", auto_offset_reset="earliest"
    )
    async with producer, consumer:
        await producer.send_and_wait("recording", b"one")
        await consumer.getone()
        await consumer.commit()


if __name__ == "__main__":
    os.nice(19)
    record()
