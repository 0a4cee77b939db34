"""Requests to the simulators, and a server that receives their webhooks."""

from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from uuid import uuid4

from httpx import AsyncClient
from standardwebhooks import Webhook

SECRET = b64encode(b"a secret of both sides").decode()


def new_key() -> dict[str, str]:
    return {"Idempotency-Key": uuid4().hex}


def payment_request(token: str, reference: str, cents: int = 1_000) -> dict[str, Any]:
    return {"reference": reference, "amount_cents": cents, "currency": "EUR", "token": token}


def shipment_request(reference: str, country: str = "DE", postcode: str = "10115") -> dict[str, Any]:
    address = {"name": "Ada", "street": "1 Lane", "postcode": postcode, "city": "Berlin", "country": country}
    return {"reference": reference, "address": address, "parcels": [{"item": "p-1", "quantity": 2}]}


async def change_settings(http: AsyncClient, **settings: Any) -> None:
    (await http.put("/settings", json=settings)).raise_for_status()


class WebhookReceiver(ThreadingHTTPServer):
    """Keeps the webhooks that it receives, and answers with `statuses` one after the other, then with 200."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _WebhookHandler)
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        self.url = f"http://127.0.0.1:{self.server_port}/hooks"

    def verified(self) -> list[dict[str, Any]]:
        """The bodies after a check of their signatures, each with the id of its webhook."""
        return [
            Webhook(SECRET).verify(body, headers) | {"webhook_id": headers["webhook-id"]}
            for headers, body in list(self.received)
        ]

    def ids(self) -> list[str]:
        return [headers["webhook-id"] for headers, _ in self.received]


class _WebhookHandler(BaseHTTPRequestHandler):
    server: WebhookReceiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.received.append((dict(self.headers), body))
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def receiving_webhooks() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.shutdown()
