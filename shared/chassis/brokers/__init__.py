"""Message brokers behind one port: Kafka, Pulsar, and one in memory for tests and for a single process.

The port (`port.py`) is what services need and both brokers do well; the adapters stand beside it. One conformance
suite, `tests/brokers`, runs against all three.
"""
