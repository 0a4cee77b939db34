"""A service that tells itself of parcels: one event, one handler that writes one row."""

import time
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from chassis.calls import Api, Layer
from chassis.database import Schema, UnitOfWork
from chassis.message import Event
from chassis.messaging import Subscriptions
from chassis.service import Service
from loadtests.messaging.models import Parcel

BODY_BYTES = 600
WEIGHT_G = 1200
NOTE = "n" * (BODY_BYTES - 83)  # with ids and names around it, a body is of that size


class Handed(Event, wire_type="parcels.handed.v1", key="parcel_id"):
    """A parcel was handed over. Each has a key of its own, as orders mostly have."""

    parcel_id: UUID
    weight_g: int = WEIGHT_G
    note: str = NOTE


@dataclass
class Seen:
    """How many messages handlers of this process have seen, and when the last, on the monotonic clock."""

    count: int = 0
    at: float = 0

    def more(self, count: int = 1) -> None:
        self.count += count
        self.at = time.monotonic()


seen = Seen()
on = Subscriptions()


@on(Handed)
def handed(event: Handed, work: UnitOfWork) -> None:
    work.add(Parcel.new(id=event.parcel_id, weight_g=event.weight_g))
    seen.more()


SCHEMA = Schema(Parcel.metadata, Path(__file__).parent.parent / "migrations")
service = Service(Api("parcels", Layer.SYSTEM), subscriptions=on, schema=SCHEMA)
