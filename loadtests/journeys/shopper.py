"""A customer at work: the HTTP client of all journeys, behind which Locust stands."""

import random
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import gevent
from locust.contrib.fasthttp import FastHttpSession

from chassis.calls.auth import service_token
from loadtests.ops_log import Operation, OpsLog, Outcome
from loadtests.plan import Account, World

API = "/api/v1"
PATIENCE_SECONDS, POLL_SECONDS, RETRY_SECONDS = 60, 0.3, 0.2
TOKEN_MARGIN_SECONDS = 60
# The request changed nothing, and the same request may succeed in a moment.
TRY_AGAIN = ("conflict", "in_progress", "rate_limited")
NOT_SOLD = ("cart_empty", "cart_full", "price_changed", "product_not_found", "quote_expired", "quote_does_not_fit")


class Unanswered(Exception):
    """The shop did not answer in time, or with a status of 5xx: what was asked for may have been done."""


@dataclass(frozen=True)
class Answer:
    """The status, 0 without an answer, and the JSON."""

    status: int
    body: Any

    @property
    def code(self) -> str:
        """What refused the request; empty after success."""
        return str(self.body.get("code", "")) if self.status >= 400 and isinstance(self.body, dict) else ""

    @property
    def order_id(self) -> str | None:
        return self.body.get("order_id") if isinstance(self.body, dict) else None

    @property
    def outcome(self) -> Outcome:
        if 200 <= self.status < 300:
            return "ack"
        return "fail" if 400 <= self.status < 500 else "unknown"


class Shopper:
    """Sends the requests of one customer, and writes each into the ops log."""

    def __init__(
        self, account: Account, world: World, log: OpsLog, http: FastHttpSession, hasty: FastHttpSession
    ) -> None:
        """`hasty` is a client with a short time-out."""
        self.account, self.world = account, world
        self.journey = ""  # the name of the one under way
        self._log, self._http, self._hasty = log, http, hasty
        self._token, self._refresh_token, self._token_ends = (
            account.access_token,
            account.refresh_token,
            account.access_token_ends,
        )

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        name: str = "",
        key: str = "",
        refusals: Collection[str] = (),
        hasty: bool = False,
    ) -> Answer:
        """One request under `/api/v1`. Codes among `refusals` are outcomes; any other one is an error of the load."""
        if time.time() > self._token_ends - TOKEN_MARGIN_SECONDS:
            self._renew_token()
        headers = {"authorization": f"Bearer {self._token}"} | ({"idempotency-key": key} if key else {})
        http = self._hasty if hasty else self._http
        return self._request(http, method, API + path, name or path, body, headers, refusals, may_time_out=hasty)

    def send_as_staff(self, method: str, path: str, body: Any, *, name: str) -> Answer:
        """One request at the internal listener, with the rights of a service."""
        headers = {"authorization": f"Bearer {service_token('load', self.world.service_key)}"}
        return self._request(self._http, method, self.world.internal_url + path, name, body, headers)

    def record(self, name: str, began: float, outcome: Outcome, **detail: Any) -> None:
        """A fact that took more than one request, with a row of its own."""
        seconds = time.time() - began
        error = outcome != "ack"
        self._log.write(Operation(name, self.journey, self.account.id, began, seconds, outcome, error, detail=detail))
        self._http.request_event.fire(
            request_type="ORDER",
            name=name,
            response_time=1000 * seconds,
            response_length=0,
            context={},
            exception=Unanswered(name) if error else None,
        )

    def popular_product(self) -> str:
        """A product by Zipf's law: the n-th is wanted 1/n as often as the first."""
        rank = int(len(self.world.catalogue) ** random.random())  # the integral of 1/n is the logarithm of n
        return self.world.catalogue[rank - 1]

    def put_in_cart(self, product_id: str, quantity: int = 1) -> bool:
        """Whether the cart has the product now."""
        path, body = f"/cart/lines/{product_id}", {"quantity": quantity}
        return self.send("PUT", path, body, name="/cart/lines/{product_id}", refusals=NOT_SOLD).outcome == "ack"

    def check_out(self, key: str, card: str = "tok_visa", hasty: bool = False) -> Answer:
        """One attempt. An attempt with the same key again is the same checkout."""
        body = {"address_id": self.account.address_id, "payment_token": card}
        return self.send("POST", "/checkouts", body, key=key, refusals=(*NOT_SOLD, *TRY_AGAIN), hasty=hasty)

    def check_out_until_answered(self, key: str, card: str = "tok_visa") -> str | None:
        """The id of the order; None when the checkout was refused. Without an answer the request is repeated."""
        until = time.time() + PATIENCE_SECONDS
        while time.time() < until:
            with suppress(Unanswered):
                answer = self.check_out(key, card)
                if answer.code not in TRY_AGAIN:
                    return answer.order_id
            gevent.sleep(RETRY_SECONDS)
        raise Unanswered(f"checkout {key}")

    def wait_for_order(self, order_id: str, *statuses: str) -> Any:
        """The order, once it has one of the statuses or is cancelled."""
        until = time.time() + PATIENCE_SECONDS
        while time.time() < until:
            order = self.send("GET", f"/orders/{order_id}", name="/orders/{order_id}").body
            if order["status"] in (*statuses, "cancelled"):
                return order
            gevent.sleep(POLL_SECONDS)
        raise Unanswered(f"order {order_id} is {order['status']}")

    def _renew_token(self) -> None:
        body = {"grant_type": "refresh_token", "refresh_token": self._refresh_token}
        tokens = self._request(self._http, "POST", f"{API}/tokens", "/tokens", body, {}).body
        self._token, self._refresh_token = tokens["access_token"], tokens["refresh_token"]
        self._token_ends = time.time() + tokens["expires_in"]

    def _request(
        self,
        http: FastHttpSession,
        method: str,
        url: str,
        name: str,
        body: Any,
        headers: dict[str, str],
        refusals: Collection[str] = (),
        may_time_out: bool = False,
    ) -> Answer:
        began, started = time.time(), time.perf_counter()
        with http.request(method, url, name=name, json=body, headers=headers, catch_response=True) as response:
            answer = Answer(response.status_code or 0, _json(response))
            expected = answer.outcome == "ack" or answer.code in refusals or (may_time_out and not answer.status)
            if expected:
                response.success()
            else:
                response.failure(answer.code or f"status {answer.status}")
        self._log.write(
            Operation(
                f"{method} {name}",
                self.journey,
                self.account.id,
                began,
                time.perf_counter() - started,
                answer.outcome,
                not expected,
                answer.status,
                answer.code,
                headers.get("idempotency-key", ""),
                {"asked": body, "order_id": answer.order_id},
            )
        )
        if answer.outcome == "unknown":
            raise Unanswered(f"{method} {name}")
        return answer


def _json(response: Any) -> Any:
    try:
        return response.json() if response.content else None
    except ValueError:
        return None
