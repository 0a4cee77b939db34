"""Topics on Kafka: created when they are missing, refused when they are configured otherwise."""

from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import NoError, TopicAlreadyExistsError, for_code

from chassis.brokers.port import RETENTION, BrokerUnavailable, TopicMismatch

CONFIG = {"cleanup.policy": "delete", "retention.ms": str(RETENTION // RETENTION.resolution // 1000)}


async def ensure_topics(admin: AIOKafkaAdminClient, topics: Sequence[str], partitions: int, replicas: int) -> None:
    """Compare the existing topics, then create the others. The number of replicas may change and is not compared."""
    wanted = [NewTopic(topic, partitions, replicas, topic_configs=CONFIG) for topic in topics]
    if there := await _create(admin, wanted, only_ask=True):
        found = await partitions_of(admin, there)
        if unknown := set(there) - {partition.topic for partition in found}:  # not all brokers know it yet
            raise BrokerUnavailable(f"Kafka has just created {', '.join(unknown)}")
        _compare(partitions, found, await _configs(admin, there))
    if missing := [topic for topic in wanted if topic.name not in there]:
        await _create(admin, missing)


async def _create(admin: AIOKafkaAdminClient, topics: Sequence[NewTopic], only_ask: bool = False) -> list[str]:
    """Create topics, or only ask; returns those that exist already."""
    answer = await admin.create_topics(list(topics), validate_only=only_ask)
    errors = {topic: for_code(code) for topic, code, *_ in answer.topic_errors}
    for topic, error in errors.items():
        if error not in (NoError, TopicAlreadyExistsError):
            raise BrokerUnavailable(f"Kafka refuses the topic {topic}: {error.__name__}")
    return [topic for topic, error in errors.items() if error is TopicAlreadyExistsError]


async def partitions_of(admin: AIOKafkaAdminClient, topics: Sequence[str]) -> list[TopicPartition]:
    """All partitions of these topics."""
    described: list[dict[str, Any]] = await admin.describe_topics(list(topics))
    return [TopicPartition(it["topic"], number["partition"]) for it in described for number in it["partitions"]]


async def _configs(admin: AIOKafkaAdminClient, topics: Sequence[str]) -> dict[str, dict[str, str]]:
    resources = [ConfigResource(ConfigResourceType.TOPIC, topic, configs=CONFIG) for topic in topics]
    answers = [it for answer in await admin.describe_configs(resources) for it in answer.resources]
    for code, _, _, topic, _ in answers:
        if for_code(code) is not NoError:  # a topic that was just created is not known yet
            raise BrokerUnavailable(
                f"Kafka does not show the configuration of the topic {topic}: {for_code(code).__name__}"
            )
    return {topic: {name: value for name, value, *_ in entries} for _, _, _, topic, entries in answers}


def _compare(partitions: int, there: Sequence[TopicPartition], configs: Mapping[str, dict[str, str]]) -> None:
    wanted = {"partitions": str(partitions)} | CONFIG
    for topic, config in configs.items():
        found = {"partitions": str(sum(partition.topic == topic for partition in there))} | config
        differences = [f"{name} {found[name]}, not {value}" for name, value in wanted.items() if found[name] != value]
        if differences:
            raise TopicMismatch(
                f"the topic {topic} has {'; '.join(differences)}. Change it (kafka-topics.sh, kafka-configs.sh), or"
                " what is wanted: KAFKA_PARTITIONS, and RETENTION in chassis/brokers/port.py"
            )
