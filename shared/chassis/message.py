"""Commands and events as classes, and the envelope in which they travel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import NAMESPACE_OID, UUID, uuid5

from pydantic import BaseModel, BeforeValidator, ConfigDict

MAX_MESSAGE_BYTES = 256 * 1024


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


# After a strict integer of an input, as JSON Schema has it: 2 and 2.0 are one number, and neither true nor "2" is one.
WHOLE_FLOATS = BeforeValidator(_whole)

# The pattern of one line of text: at least one character that is seen, and no control character.
ONE_LINE = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"


class MessageTooLarge(Exception):
    """A message is over the limit of the broker. Raised before anything is written."""


class Message(BaseModel):
    """A message between services. Unknown fields are ignored, so a producer may add one with a default.

    `wire_type` (`owner.name.v1`) survives a rename of the class; messages with equal `key` are handled in order.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: ClassVar[str]
    wire_type: ClassVar[str] = ""
    topic: ClassVar[str] = ""
    key_field: ClassVar[str] = ""

    def __init_subclass__(cls, *, wire_type: str = "", key: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.key_field = key or cls.key_field
        if wire_type:
            cls.wire_type = wire_type
            cls.topic = f"{wire_type.partition('.')[0]}.{cls.kind}"

    @property
    def key(self) -> str:
        return str(getattr(self, self.key_field))


class Command(Message):
    """Asks one service to do something. Named in the imperative, owned by the service that obeys."""

    kind = "commands"


class Event(Message):
    """States that something happened. Named in the past, owned by the service that announces."""

    kind = "events"


def message_types(base: type[Message] = Message) -> Iterator[type[Message]]:
    """The class of every message whose contract is imported in this process."""
    for below in base.__subclasses__():
        if below.wire_type:
            yield below
        yield from message_types(below)


def announced_topics(service: str) -> set[str]:
    """The topics of a service: those of its contracts that are imported here."""
    return {it.topic for it in message_types() if it.topic.startswith(f"{service}.")}


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message on its way: CloudEvents 1.0 attributes, the trace, and the body as JSON bytes."""

    topic: str
    key: str
    id: UUID
    type: str
    source: str
    time: datetime
    body: bytes
    correlation_id: str
    causation_id: str | None = None
    traceparent: str | None = None

    def headers(self) -> list[tuple[str, bytes]]:
        """The headers of CloudEvents' Kafka protocol binding in binary mode."""
        values = {
            "ce_specversion": "1.0",
            "ce_id": str(self.id),
            "ce_type": self.type,
            "ce_source": self.source,
            "ce_subject": self.key,
            "ce_time": self.time.isoformat(),
            "content-type": "application/json",
            "ce_correlationid": self.correlation_id,
            "ce_causationid": self.causation_id,
            "traceparent": self.traceparent,
        }
        return [(name, value.encode()) for name, value in values.items() if value is not None]

    @classmethod
    def read(cls, topic: str, key: str, headers: list[tuple[str, bytes]], body: bytes) -> Envelope:
        """The envelope as the broker delivers it. An unreadable one has the empty type, and becomes a dead letter."""
        key = key.replace("\0", "\N{REPLACEMENT CHARACTER}")  # PostgreSQL stores any other
        try:
            values = {name: value.decode() for name, value in headers}
            if any("\0" in value for value in values.values()):
                raise ValueError("a header with a NUL")
            return cls(
                topic=topic,
                key=key,
                id=UUID(values["ce_id"]),
                type=values["ce_type"],
                source=values["ce_source"],
                time=datetime.fromisoformat(values["ce_time"]),
                body=body,
                correlation_id=values.get("ce_correlationid", values["ce_id"]),
                causation_id=values.get("ce_causationid"),
                traceparent=values.get("traceparent"),
            )
        except (AttributeError, KeyError, ValueError, OverflowError):
            id = uuid5(NAMESPACE_OID, repr((topic, key, headers, body)))
            return cls(topic, key, id, type="", source="", time=datetime.now(UTC), body=body, correlation_id=str(id))
