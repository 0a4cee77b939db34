"""The broker port on Apache Kafka: publishing, topics, and groups."""

from chassis.brokers.kafka.broker import KafkaBroker
from chassis.brokers.kafka.group import GroupTimeouts

__all__ = ["GroupTimeouts", "KafkaBroker"]
