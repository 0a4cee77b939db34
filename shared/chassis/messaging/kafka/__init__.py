"""The broker port on Apache Kafka: publishing, topics, and groups."""

from chassis.messaging.kafka.broker import KafkaBroker
from chassis.messaging.kafka.group import GroupTimeouts

__all__ = ["GroupTimeouts", "KafkaBroker"]
