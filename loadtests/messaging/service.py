"""A service that tells itself of parcels: one event, one handler that writes one row."""

import time
from dataclasses import dataclass
from uuid import UUID

from chassis.discovery import Api, Layer
from chassis.messaging.message import Event
from chassis.service import Service
from chassis.subscriptions import Subscriptions
from chassis.work import UnitOfWork
from loadtests.messaging import models
from loadtests.messaging.models import HandledParcel

BODY_BYTES = 600
WEIGHT_G = 1200
NOTE = "n" * (BODY_BYTES - 83)  # with ids and names around it, a body is of that size


class ParcelHandedOver(Event, wire_type="parcels.handed.v1", key="parcel_id"):
    """A parcel was handed over. Each has a key of its own, as orders mostly have."""

    parcel_id: UUID
    weight_g: int = WEIGHT_G
    note: str = NOTE


@dataclass
class HandledCount:
    """How many messages handlers of this process have seen, and when the last, on the monotonic clock."""

    count: int = 0
    at: float = 0

    def more(self, count: int = 1) -> None:
        self.count += count
        self.at = time.monotonic()


seen = HandledCount()
on = Subscriptions()


@on(ParcelHandedOver)
def handed(event: ParcelHandedOver, work: UnitOfWork) -> None:
    work.add(HandledParcel.new(id=event.parcel_id, weight_g=event.weight_g))
    seen.more()


service = Service(Api("parcels", Layer.SYSTEM), subscriptions=on, models=models)
