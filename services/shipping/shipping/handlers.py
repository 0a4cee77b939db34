"""The life of a shipment, read from top to bottom: commands say what is wanted, the carrier says what is.

| state      | CreateShipment     | CancelShipment               | the carrier says                                    |
|------------|--------------------|------------------------------|-----------------------------------------------------|
| (none)     | creating           | cancelled, ShipmentCancelled |                                                     |
| creating   |                    | waits                        | accepted, rejected, or as from accepted             |
| accepted   |                    | cancelling                   | dispatched, delivered, lost, or cancelled: rejected |
| cancelling |                    |                              | cancelled, or too late: dispatched, delivered, lost |
| dispatched | ShipmentDispatched | ShipmentDispatched           | delivered, lost                                     |
| delivered  | ShipmentDispatched | ShipmentDispatched           |                                                     |
| lost       | ShipmentDispatched | ShipmentDispatched           |                                                     |
| rejected   | ShipmentRejected   | ShipmentCancelled            |                                                     |
| cancelled  | ShipmentRejected   | ShipmentCancelled            |                                                     |

Each new state but accepted and the -ing ones is announced by its event, dispatched always before delivered or lost.
What the carrier says comes as the answer to a call, as a webhook, or by asking now and then; it is decided under the
row's lock. What it says of a parcel whose story is over changes nothing; the order knows that story by then.
"""

import logging
import random
from datetime import datetime, timedelta

from chassis.due import Due
from chassis.subscriptions import Subscriptions, rows
from chassis.work import UnitOfWork
from contracts.shipping import (
    CancelShipment,
    CreateShipment,
    ShipmentCancelled,
    ShipmentDelivered,
    ShipmentDispatched,
    ShipmentLost,
    ShipmentRejected,
)
from shipping.carrier import CarrierParcel, request_status
from shipping.models import AWAITING_CARRIER, DEPARTED, ENDED, STOPPED, Shipment, ShipmentState

logger = logging.getLogger(__name__)
on = Subscriptions()
due = Due()
FIRST_RETRY_SECONDS, MOST_RETRY_SECONDS = 0.5, 60
FIRST_POLL_SECONDS, MOST_POLL_SECONDS = 30, 3600  # webhooks bring the news, asking is the net below them
MAX_UPDATES = 100


@on(CreateShipment, needs=rows(Shipment, order_id="order_id"))
def create_shipment(command: CreateShipment, work: UnitOfWork) -> None:
    shipment = work.get(Shipment, command.order_id)
    if shipment is None:
        shipment = Shipment.new(
            order_id=command.order_id,
            address_id=command.address_id,
            lines=[line.model_dump(mode="json") for line in command.lines],
            state=ShipmentState.CREATING,
            due_at=work.now,
            cause=work.origin(),
        )
        work.add(shipment)
    elif shipment.state in STOPPED:
        work.send(ShipmentRejected(order_id=shipment.order_id, reason=shipment.reason or shipment.state))
    elif shipment.state in DEPARTED:
        work.send(_dispatched(shipment))


@on(CancelShipment, needs=rows(Shipment, order_id="order_id"))
def cancel_shipment(command: CancelShipment, work: UnitOfWork) -> None:
    shipment = work.get(Shipment, command.order_id)
    if shipment is None:
        shipment = work.add(Shipment.new(order_id=command.order_id, lines=[], state=ShipmentState.CANCELLED))
    _cancel(shipment, work)


def _cancel(shipment: Shipment, work: UnitOfWork) -> None:
    """Answer at once where it is decided; otherwise ask the carrier, as soon as it is known that it has the parcel."""
    if shipment.state in STOPPED:
        work.send(ShipmentCancelled(order_id=shipment.order_id))
    elif shipment.state in DEPARTED:
        work.send(_dispatched(shipment))
    elif shipment.state == ShipmentState.CREATING:
        shipment.cancel_pending, shipment.cause = True, work.origin()
    elif shipment.state == ShipmentState.ACCEPTED:
        shipment.state, shipment.cause = ShipmentState.CANCELLING, work.origin()
        shipment.tries, shipment.due_at = 0, work.now


@due(Shipment.due_at, call=request_status, lease_seconds=30)
def record_answer(shipment: Shipment, parcel: CarrierParcel | None, work: UnitOfWork) -> None:
    """What the carrier said becomes the state of the shipment; while it says nothing new, it is asked again."""
    before = shipment.state
    if parcel is not None:
        record_update(shipment, parcel.status, work.now)
        record_carrier_status(shipment, parcel, work)
    if shipment.state == before:
        calling = before in AWAITING_CARRIER
        first, most = (FIRST_RETRY_SECONDS, MOST_RETRY_SECONDS) if calling else (FIRST_POLL_SECONDS, MOST_POLL_SECONDS)
        delay = min(first * 2 ** min(shipment.tries, 20), most)
        shipment.due_at = work.now + timedelta(seconds=delay * random.uniform(0.5, 1))
        shipment.tries += 1


def record_update(shipment: Shipment, status: str, at: datetime, place: str | None = None) -> None:
    """Keep what the carrier said, the first time it says so. It may say what we do not know, such as in_customs."""
    known = any(it["status"] == status and place in (None, it["place"]) for it in shipment.updates)
    if not known and len(shipment.updates) < MAX_UPDATES:
        shipment.updates = [*shipment.updates, {"status": status, "at": at.isoformat(), "place": place}]


def record_carrier_status(shipment: Shipment, parcel: CarrierParcel, work: UnitOfWork) -> None:
    """Move on by what the carrier says. Nothing moves back, so late, repeated and reordered news are harmless."""
    if shipment.state in ENDED:
        if parcel.status in (DEPARTED if shipment.state in STOPPED else ENDED) and parcel.status != shipment.state:
            about = {"order_id": str(shipment.order_id), "state": shipment.state, "said": parcel.status}
            logger.warning("the carrier says something else of a shipment that is over", extra=about)
        return
    before = shipment.state
    shipment.carrier_id = parcel.id or shipment.carrier_id
    shipment.tracking_code = parcel.tracking_code or shipment.tracking_code
    match parcel.status:
        case "accepted" if shipment.state == ShipmentState.CREATING:
            shipment.state = ShipmentState.ACCEPTED
        case "rejected" | "cancelled" if shipment.state != ShipmentState.DISPATCHED:
            _record_stop(shipment, parcel, work)
        case "dispatched" | "delivered" | "lost":
            _record_departure(shipment, parcel, work)
    if shipment.state != before:
        ended = shipment.state in ENDED
        shipment.tries, shipment.due_at = 0, None if ended else work.now + timedelta(seconds=FIRST_POLL_SECONDS)
        if shipment.cancel_pending:
            shipment.cancel_pending = False
            _cancel(shipment, work)


def _record_stop(shipment: Shipment, parcel: CarrierParcel, work: UnitOfWork) -> None:
    """The carrier does as we asked, or does not send it for a reason of its own."""
    if shipment.state == ShipmentState.CANCELLING:
        shipment.state = ShipmentState.CANCELLED
        work.send(ShipmentCancelled(order_id=shipment.order_id))
    else:
        shipment.state, shipment.reason = ShipmentState.REJECTED, parcel.reason or f"{parcel.status}_by_carrier"
        work.send(ShipmentRejected(order_id=shipment.order_id, reason=shipment.reason))


def _record_departure(shipment: Shipment, parcel: CarrierParcel, work: UnitOfWork) -> None:
    """Delivered or lost may be the first news of it, and says that it was dispatched as well."""
    if shipment.state != ShipmentState.DISPATCHED:
        shipment.state, shipment.cancel_pending = ShipmentState.DISPATCHED, False  # this answers the cancel, too
        work.send(_dispatched(shipment))
    if parcel.status == "delivered":
        shipment.state = ShipmentState.DELIVERED
        work.send(ShipmentDelivered(order_id=shipment.order_id))
    elif parcel.status == "lost":
        shipment.state = ShipmentState.LOST
        work.send(ShipmentLost(order_id=shipment.order_id))


def _dispatched(shipment: Shipment) -> ShipmentDispatched:
    return ShipmentDispatched(order_id=shipment.order_id, tracking_code=shipment.tracking_code or "")
