"""The servers from packages: each starts on a free port, serves, and has its durable data after kill -9."""

from pathlib import Path

import asyncpg
import httpx
import pytest
import yaml
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from chassis.process.ports import reserve_port
from local import jars
from local.envoy import Envoy
from local.errors import CommandError
from local.jars import Jar, fetch_jars, read_lock
from local.kafka import Kafka
from local.postgres import Postgres
from local.server import send_and_receive
from local.valkey import Valkey


async def test_postgres_keeps_data_through_kill_9_and_databases_apart() -> None:
    with Postgres.temporary() as server:
        server.create_databases({"order": "one", "user": "two"})
        connection = await asyncpg.connect(server.url("order", "one"))
        await connection.execute("CREATE TABLE cups AS SELECT 7 AS number")
        server.kill()
        server.start()
        server.create_databases({"order": "new", "user": "two"})
        connection = await asyncpg.connect(server.url("order", "new"))
        assert await connection.fetchval("SELECT number FROM cups") == 7
        await connection.close()
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await asyncpg.connect(server.url("order", "new"), database="user")
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(server.url("order", "one"))
        folder = server.folder
    assert not folder.exists()


async def test_kafka_gives_what_it_took_also_after_kill_9() -> None:
    async with Kafka.temporary() as server:
        admin = AIOKafkaAdminClient(bootstrap_servers=server.address)
        await admin.start()
        created = await admin.create_topics([NewTopic("cups", 1, 1)])
        assert [error for _, error, _ in created.topic_errors] == [0]
        await admin.close()
        async with AIOKafkaProducer(bootstrap_servers=server.address, acks="all") as producer:
            await producer.send_and_wait("cups", b"blue")
        server.kill()
        await server.__aenter__()
        consumer = AIOKafkaConsumer("cups", bootstrap_servers=server.address, auto_offset_reset="earliest")
        async with consumer:
            assert (await consumer.getone()).value == b"blue"


def test_valkey_as_a_cache_loses_its_data() -> None:
    with Valkey.temporary() as server:
        assert send_and_receive(server.port, b"SET cup blue\r\n") == b"+OK\r\n"
        assert send_and_receive(server.port, b"GET cup\r\n") == b"$4\r\nblue\r\n"
        server.kill()
        server.start()
        assert send_and_receive(server.port, b"GET cup\r\n") == b"$-1\r\n"
        assert b"67108864" in send_and_receive(server.port, b"CONFIG GET maxmemory\r\n")


def test_persistent_valkey_has_its_data_after_kill_9_and_evicts_nothing() -> None:
    server = Valkey.temporary()
    server.persistent = True
    with server:
        assert send_and_receive(server.port, b"RPUSH cups blue\r\n") == b":1\r\n"
        server.kill()
        server.start()
        assert send_and_receive(server.port, b"LRANGE cups 0 -1\r\n") == b"*1\r\n$4\r\nblue\r\n"
        assert b"noeviction" in send_and_receive(server.port, b"CONFIG GET maxmemory-policy\r\n")


_FILTERS = "type.googleapis.com/envoy.extensions.filters"


def _envoy_config(admin: int, port: int, status: int) -> str:
    route = {"match": {"prefix": "/"}, "direct_response": {"status": status}}
    manager = {
        "@type": f"{_FILTERS}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "test",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {"name": "router", "typed_config": {"@type": f"{_FILTERS}.http.router.v3.Router"}},
        ],
    }
    filters = [{"name": "http", "typed_config": manager}]
    listener = {"address": _address(port), "filter_chains": [{"filters": filters}]}
    return yaml.safe_dump({"admin": {"address": _address(admin)}, "static_resources": {"listeners": [listener]}})


def _address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def test_envoy_answers_with_a_valid_configuration_and_refuses_another(tmp_path: Path) -> None:
    admin, port = reserve_port(), reserve_port()
    with Envoy(tmp_path, admin, config=_envoy_config(admin, port, 204)):
        assert httpx.get(f"http://127.0.0.1:{port}/anything").status_code == 204
    with pytest.raises(CommandError, match="Envoy refuses"):
        Envoy(tmp_path, admin, config=_envoy_config(admin, port, 99)).start()


def test_a_server_that_cannot_start_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    with Valkey.temporary() as server:
        second = Valkey(tmp_path, server.port)
        with pytest.raises(CommandError, match=f"port {server.port} is taken"):
            second.__enter__()
        assert second.process is None


@pytest.mark.parametrize(
    ("log", "explanation"),
    [
        ('FATAL:  could not write file "pg_wal/x": No space left on device\nLOG: bye', "the disk is full"),
        ("java.net.BindException: Address already in use", "port 7 is taken"),
        ("first\nModuleNotFoundError: No module named 'order'\n\n", "ModuleNotFoundError: No module named 'order'"),
        ("  | KeyError: 'cups'\n  +------------\n", "KeyError: 'cups'"),
        ("", "its log is empty"),
    ],
)
def test_a_failure_is_explained_by_the_log(tmp_path: Path, log: str, explanation: str) -> None:
    assert Valkey(tmp_path, 7).explain_failure(log).startswith(explanation)


def test_a_jar_is_accepted_only_with_its_sha256(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smallest = min(fetch_jars(Kafka.lock), key=lambda path: path.stat().st_size)
    wanted = next(jar for jar in read_lock(Kafka.lock) if jar.path == smallest)
    monkeypatch.setattr(jars, "_REPOSITORY", tmp_path)
    wanted.path.parent.mkdir(parents=True)
    wanted.path.write_bytes(b"half of a jar")
    jars._fetch(wanted)
    assert wanted.path.read_bytes() == smallest.read_bytes()
    with pytest.raises(CommandError, match="its sha256 differs from the one in the lock"):
        jars._fetch(Jar(wanted.group, wanted.artifact, wanted.version, "0" * 64))
    assert not wanted.path.exists()
