"""A service that sends events to itself: one event, one handler that writes one row."""

import time
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from chassis.calls import Api, Layer
from chassis.database import Schema, UnitOfWork
from chassis.message import Event
from chassis.messaging import Subscriptions
from chassis.service import Service
from loadtests.messaging.models import HandledParcel

BODY_BYTES = 600
WEIGHT_G = 1200
NOTE = "n" * (BODY_BYTES - 83)  # with ids and field names around it, a body has BODY_BYTES


class ParcelHandedOver(Event, wire_type="parcels.handed.v1", key="parcel_id"):
    """A parcel was handed over. Each event has a key of its own, as the messages of different orders have."""

    parcel_id: UUID
    weight_g: int = WEIGHT_G
    note: str = NOTE


@dataclass
class HandledCount:
    """How many messages the handlers of this process have handled, and when the last one, on the monotonic clock."""

    count: int = 0
    at: float = 0

    def add(self, count: int = 1) -> None:
        self.count += count
        self.at = time.monotonic()


handled = HandledCount()
on = Subscriptions()


@on(ParcelHandedOver)
def store_parcel(event: ParcelHandedOver, work: UnitOfWork) -> None:
    work.add(HandledParcel.new(id=event.parcel_id, weight_g=event.weight_g))
    handled.add()


SCHEMA = Schema(HandledParcel.metadata, Path(__file__).parent.parent / "migrations")
service = Service(Api("parcels", Layer.SYSTEM), subscriptions=on, schema=SCHEMA)
