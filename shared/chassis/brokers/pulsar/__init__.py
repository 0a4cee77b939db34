"""The broker port on Apache Pulsar: publishing, a member of a group, and the admin API."""

from chassis.brokers.pulsar.broker import PulsarBroker

__all__ = ["PulsarBroker"]
