"""Every SELECT of the shipping service, by name."""

from uuid import UUID

from sqlmodel import bindparam, func, select

from chassis.database import UnitOfWork
from contracts.shipping_api import ShipmentNotFound
from shipping.models import Shipment

_shipment = select(Shipment).where(Shipment.order_id == bindparam("order_id"))
_counts = select(Shipment.state, func.count()).group_by(Shipment.state)


async def shipment_of_order(work: UnitOfWork, order_id: UUID) -> Shipment:
    shipment = await work.one(_shipment, order_id=order_id)
    if shipment is None:
        raise ShipmentNotFound()
    return shipment


async def counts_by_state(work: UnitOfWork) -> dict[str, int]:
    return dict(await work.fetch(_counts))
