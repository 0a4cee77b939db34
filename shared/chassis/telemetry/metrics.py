"""Metrics of every service, in the format of Prometheus."""

from prometheus_client import Counter, Gauge, Histogram

requests = Histogram("http_request_seconds", "Requests answered", ["service", "method", "route", "status"])
handled = Counter("messages_handled", "Messages handled", ["service", "type"])
skipped = Counter("messages_skipped", "Messages of a type without a subscription", ["service", "type"])
duplicates = Counter("messages_duplicate", "Messages that were handled before", ["service"])
dead_lettered = Counter("messages_dead_lettered", "Messages that could not be handled", ["service", "type"])
tasks = Histogram("task_seconds", "Tasks run", ["service", "task", "outcome"])
published = Counter("messages_published", "Messages handed to the broker", ["service"])
lag = Gauge("messages_lag", "Messages not handled yet", ["service", "topic"])
outbox_age = Gauge("outbox_age_seconds", "Age of the oldest message published last", ["service"])
