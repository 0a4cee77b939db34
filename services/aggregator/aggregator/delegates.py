"""HTTP in: what belongs to a service below, checked here and done there in the caller's name.

These routes have no transaction of their own. An Idempotency-Key goes on to the service whose effect it guards.
"""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, Response

from chassis.web import Caller, IdempotencyKey, Runtime
from contracts import order, user
from contracts.order import CartView, OrderView, PlaceOrder, PutCartLine
from contracts.user import (
    AccountView,
    AddAddress,
    AddressView,
    RefreshTokens,
    RegisterAccount,
    SignIn,
    TokensView,
)

router = APIRouter(prefix="/api/v1")


@router.post("/accounts", status_code=201)
async def register_account(body: RegisterAccount, runtime: Runtime) -> AccountView:
    return await runtime.client(user.api).call("POST", "/accounts", json=body.model_dump(), into=AccountView)


@router.post("/tokens")
async def issue_tokens(
    body: Annotated[SignIn | RefreshTokens, Body(discriminator="grant_type")], runtime: Runtime, response: Response
) -> TokensView:
    """Sign in, or go on with a refresh token."""
    response.headers["cache-control"] = "no-store"
    return await runtime.client(user.api).call("POST", "/tokens", json=body.model_dump(), into=TokensView)


@router.get("/me")
async def me(runtime: Runtime, _: Caller) -> AccountView:
    return await runtime.client(user.api).get("/me", into=AccountView)


@router.get("/me/addresses")
async def my_addresses(runtime: Runtime, _: Caller) -> list[AddressView]:
    return await runtime.client(user.api).get("/me/addresses", into=list[AddressView])


@router.post("/me/addresses", status_code=201)
async def add_address(body: AddAddress, runtime: Runtime, _: Caller) -> AddressView:
    return await runtime.client(user.api).call("POST", "/me/addresses", json=body.model_dump(), into=AddressView)


@router.get("/cart")
async def cart(runtime: Runtime, _: Caller) -> CartView:
    return await runtime.client(order.api).get("/cart", into=CartView)


@router.put("/cart/lines/{product_id}")
async def put_cart_line(product_id: UUID, body: PutCartLine, runtime: Runtime, _: Caller) -> CartView:
    path = f"/cart/lines/{product_id}"
    return await runtime.client(order.api).call("PUT", path, json=body.model_dump(), into=CartView)


@router.delete("/cart/lines/{product_id}")
async def delete_cart_line(product_id: UUID, runtime: Runtime, _: Caller) -> CartView:
    return await runtime.client(order.api).call("DELETE", f"/cart/lines/{product_id}", into=CartView)


@router.post("/checkouts", status_code=202)
async def check_out(
    body: PlaceOrder, runtime: Runtime, _: Caller, idempotency_key: IdempotencyKey, response: Response
) -> OrderView:
    """Make an order of the cart. Repeated with the same key, it is answered as the first time."""
    headers = {"Idempotency-Key": idempotency_key}
    placed = await runtime.client(order.api).call(
        "POST", "/checkouts", json=body.model_dump(mode="json"), headers=headers, into=OrderView
    )
    response.headers["location"] = f"/api/v1/orders/{placed.order_id}"
    return placed
