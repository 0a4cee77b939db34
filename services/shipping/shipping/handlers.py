"""The state machine of a shipment: commands say what is wanted, the carrier reports what has happened.

| state      | CreateShipment     | CancelShipment               | the carrier reports                                 |
|------------|--------------------|------------------------------|-----------------------------------------------------|
| (none)     | creating           | cancelled, ShipmentCancelled |                                                     |
| creating   |                    | pending                      | accepted, rejected, or as from accepted             |
| accepted   |                    | cancelling                   | dispatched, delivered, lost, or cancelled: rejected |
| cancelling |                    |                              | cancelled, or too late: dispatched, delivered, lost |
| dispatched | ShipmentDispatched | ShipmentDispatched           | delivered, lost                                     |
| delivered  | ShipmentDispatched | ShipmentDispatched           |                                                     |
| lost       | ShipmentDispatched | ShipmentDispatched           |                                                     |
| rejected   | ShipmentRejected   | ShipmentCancelled            |                                                     |
| cancelled  | ShipmentRejected   | ShipmentCancelled            |                                                     |

Each new state is announced by its event, except `accepted` and those that end in -ing; `dispatched` always comes before
`delivered` and `lost`. The carrier reports in its answer to a call, by a webhook, or when it is polled. Each report is
applied under the row's lock. A report about a shipment that has ended changes nothing: its end is announced already.
"""

import logging
from datetime import datetime, timedelta

from chassis.database import UnitOfWork, rows
from chassis.jobs import Deadlines
from chassis.messaging import Subscriptions
from chassis.resilience import retry_delay_seconds
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
deadlines = Deadlines()
FIRST_RETRY_SECONDS, MOST_RETRY_SECONDS = 0.5, 60
FIRST_POLL_SECONDS, MOST_POLL_SECONDS = 30, 3600  # polling is the safety net below webhooks
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
            causation=work.causation(),
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
    """Answer at once if the parcel was stopped or has left; otherwise ask the carrier, once it confirmed the parcel."""
    if shipment.state in STOPPED:
        work.send(ShipmentCancelled(order_id=shipment.order_id))
    elif shipment.state in DEPARTED:
        work.send(_dispatched(shipment))
    elif shipment.state == ShipmentState.CREATING:
        shipment.cancel_pending, shipment.causation = True, work.causation()
    elif shipment.state == ShipmentState.ACCEPTED:
        shipment.state, shipment.causation = ShipmentState.CANCELLING, work.causation()
        shipment.tries, shipment.due_at = 0, work.now


@deadlines(Shipment.due_at, call=request_status, lease_seconds=30)
def record_answer(shipment: Shipment, parcel: CarrierParcel | None, work: UnitOfWork) -> None:
    """Record the carrier's answer, and schedule the next request if the state has not changed."""
    before = shipment.state
    if parcel is not None:
        record_update(shipment, parcel.status, work.now)
        record_carrier_status(shipment, parcel, work)
    if shipment.state == before:
        calling = before in AWAITING_CARRIER
        first, most = (FIRST_RETRY_SECONDS, MOST_RETRY_SECONDS) if calling else (FIRST_POLL_SECONDS, MOST_POLL_SECONDS)
        shipment.due_at = work.now + timedelta(seconds=retry_delay_seconds(shipment.tries, first, most))
        shipment.tries += 1


def record_update(shipment: Shipment, status: str, at: datetime, place: str | None = None) -> None:
    """Add a report of the carrier to the updates, once. Unknown statuses such as in_customs are kept as well."""
    known = any(it["status"] == status and place in (None, it["place"]) for it in shipment.updates)
    if not known and len(shipment.updates) < MAX_UPDATES:
        shipment.updates = [*shipment.updates, {"status": status, "at": at.isoformat(), "place": place}]


def record_carrier_status(shipment: Shipment, parcel: CarrierParcel, work: UnitOfWork) -> None:
    """Apply a report of the carrier. A state never goes back, so late, repeated and reordered reports are harmless."""
    if shipment.state in ENDED:
        if parcel.status in (DEPARTED if shipment.state in STOPPED else ENDED) and parcel.status != shipment.state:
            about = {"order_id": str(shipment.order_id), "state": shipment.state, "reported": parcel.status}
            logger.warning("the carrier contradicts the end of a shipment", extra=about)
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
    """Record that nothing is sent: cancelled if we asked for it, rejected if the carrier decided so."""
    if shipment.state == ShipmentState.CANCELLING:
        shipment.state = ShipmentState.CANCELLED
        work.send(ShipmentCancelled(order_id=shipment.order_id))
    else:
        shipment.state, shipment.reason = ShipmentState.REJECTED, parcel.reason or f"{parcel.status}_by_carrier"
        work.send(ShipmentRejected(order_id=shipment.order_id, reason=shipment.reason))


def _record_departure(shipment: Shipment, parcel: CarrierParcel, work: UnitOfWork) -> None:
    """Record that the parcel left. `delivered` and `lost` imply `dispatched`, if that was not reported before."""
    if shipment.state != ShipmentState.DISPATCHED:
        shipment.state, shipment.cancel_pending = ShipmentState.DISPATCHED, False  # this also answers a pending cancel
        work.send(_dispatched(shipment))
    if parcel.status == "delivered":
        shipment.state = ShipmentState.DELIVERED
        work.send(ShipmentDelivered(order_id=shipment.order_id))
    elif parcel.status == "lost":
        shipment.state = ShipmentState.LOST
        work.send(ShipmentLost(order_id=shipment.order_id))


def _dispatched(shipment: Shipment) -> ShipmentDispatched:
    return ShipmentDispatched(order_id=shipment.order_id, tracking_code=shipment.tracking_code or "")
