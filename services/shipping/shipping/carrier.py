"""The adapter of the carrier: it turns the state of a shipment into an HTTP request, and the answer into a fact."""

import logging
from typing import Any, Literal, Self

import httpx
from pydantic import BaseModel, TypeAdapter, model_validator

from chassis.errors import Problem
from chassis.resilience import CallRejected, CircuitBreaker
from chassis.service import Runtime
from contracts import user_api
from shipping.config import ShippingSettings
from shipping.models import AWAITING_CARRIER, Shipment, ShipmentState

logger = logging.getLogger(__name__)


class CarrierParcel(BaseModel):
    """A shipment at the carrier. A rejected one has neither id nor tracking code."""

    status: Literal["accepted", "rejected", "cancelled", "dispatched", "delivered", "lost"]
    id: str | None = None
    tracking_code: str | None = None
    reason: str | None = None

    @model_validator(mode="after")
    def _can_be_found_again(self) -> Self:
        if self.status != "rejected" and not (self.id and self.tracking_code):
            raise ValueError(f"a parcel that is {self.status} has an id and a tracking code")
        return self


_parcels = TypeAdapter(list[CarrierParcel])


async def request_status(shipment: Shipment, runtime: Runtime[ShippingSettings]) -> CarrierParcel | None:
    """Request what the shipment waits for, which is safe to repeat. None: the answer is unknown."""
    try:
        match shipment.state:
            case ShipmentState.CREATING:
                return await _create_parcel(shipment, runtime)
            case ShipmentState.CANCELLING:
                answer = await _call(shipment, runtime, "POST", f"/{shipment.carrier_id}/cancel", also=409)
            case _:
                answer = await _call(shipment, runtime, "GET", f"/{shipment.carrier_id}")
        return CarrierParcel.model_validate_json(answer.content)
    except CallRejected:
        return None
    except (httpx.HTTPError, Problem, ValueError) as error:
        about = {"order_id": str(shipment.order_id), "state": shipment.state, "error": repr(error)}
        logger.warning("the carrier's answer about a shipment is unknown; the request will be repeated", extra=about)
        return None


async def _create_parcel(shipment: Shipment, runtime: Runtime[ShippingSettings]) -> CarrierParcel:
    try:
        address = await runtime.call(user_api.get_address, as_service=True, address_id=shipment.address_id)
    except user_api.AddressNotFound:
        # An earlier request may have sent the parcel while the address still existed, and its answer was lost.
        return await _find_parcel(shipment, runtime) or CarrierParcel(status="rejected", reason="address_not_found")
    body = {
        "reference": str(shipment.order_id),
        "address": address.model_dump(mode="json", exclude={"id"}),
        "parcels": [{"item": line["product_id"], "quantity": line["quantity"]} for line in shipment.lines],
    }
    key = {"Idempotency-Key": str(shipment.order_id)}
    answer = await _call(shipment, runtime, "POST", "", also=422, json=body, headers=key)
    if answer.status_code == 422:
        return CarrierParcel.model_validate({"reason": "not_accepted", **answer.json(), "status": "rejected"})
    return CarrierParcel.model_validate_json(answer.content)


async def _find_parcel(shipment: Shipment, runtime: Runtime[ShippingSettings]) -> CarrierParcel | None:
    """The carrier's parcel for this order, if an earlier request made one."""
    answer = await _call(shipment, runtime, "GET", "", params={"reference": str(shipment.order_id)})
    return next(iter(_parcels.validate_json(answer.content)), None)


async def _call(
    shipment: Shipment, runtime: Runtime[ShippingSettings], method: str, path: str, also: int = 0, **request: Any
) -> httpx.Response:
    """The answer, also one with the status `also`. An answer of an overloaded or failing carrier is raised."""
    settings = runtime.settings
    url, timeout = f"{settings.carrier_url}/shipments{path}", settings.carrier_timeout_seconds
    async with runtime.resource(CircuitBreaker).call(retry=shipment.state in AWAITING_CARRIER and shipment.tries > 0):
        answer = await runtime.http.request(method, url, timeout=timeout, **request)
        if answer.status_code == 429 or answer.is_server_error:
            answer.raise_for_status()
    return answer if answer.status_code == also else answer.raise_for_status()
