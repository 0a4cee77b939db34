"""The broker port on Apache Kafka: publishing, topics, and groups."""

from chassis.brokers.kafka.broker import KafkaBroker

__all__ = ["KafkaBroker"]
