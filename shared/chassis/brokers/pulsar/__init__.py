"""The broker port on Apache Pulsar: publishing, a member of a group, and what only the admin API tells."""

from chassis.brokers.pulsar.broker import PulsarBroker

__all__ = ["PulsarBroker"]
