"""What a handler reads of a message is found, and a consumer whose producer lacks it is named."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from chassis.calls import Api, Layer
from chassis.database import Table, UnitOfWork, rows
from chassis.message import Event, Message
from chassis.messaging import Subscriptions
from chassis.service import Service, installed
from tools.consumers import fields_read, unmet_needs
from tools.contracts import schema_of, schemas


class Shelf(Table):
    """What a consumer keeps."""


class Stored(Event, wire_type="depot.stored.v1", key="shelf"):
    """What the producer announces."""

    shelf: UUID
    pieces: int
    note: str | None = None
    place: str = ""


class StoredAsRead(Event, wire_type="depot.stored.v1", key="shelf"):
    """The same, as a consumer declares what it needs of it."""

    shelf: UUID
    pieces: int


class StoredWithRoom(StoredAsRead, wire_type="depot.stored.v1"):
    room: int


class StoredInWords(StoredAsRead, wire_type="depot.stored.v1"):
    pieces: str  # type: ignore[assignment]


def by_name(event: Stored, work: UnitOfWork) -> None:
    work.get(Shelf, event.shelf)


def by_another_function(event: Stored, work: UnitOfWork) -> None:
    read_row(work, it=event)


def read_row(work: UnitOfWork, it: Stored) -> int:
    return it.pieces if type(it) is Stored else 0


def all_of_it(event: Stored, work: UnitOfWork) -> None:
    event.model_dump(exclude={"note"})


def who_knows(event: Stored, work: UnitOfWork) -> None:
    other = event
    work.send(other)


def its_key(event: Stored, work: UnitOfWork) -> None:
    assert event.key
    assert event.wire_type


def nothing(event: Stored, work: UnitOfWork) -> None: ...


def a_field_that_is_not_there(event: Any, work: UnitOfWork) -> None:
    assert event.weight


def subscribed(type_: type[Message], handler: Callable[..., None], **needs: Any) -> Subscriptions:
    on = Subscriptions()
    on(type_, needs=rows(Shelf, **needs) if needs else ())(handler)
    return on


@pytest.mark.parametrize(
    ("handler", "needs", "fields"),
    [
        (nothing, {}, set()),
        (nothing, {"id": "shelf"}, {"shelf"}),
        (nothing, {"id": lambda event, _: [event.shelf]}, {"shelf"}),
        (nothing, {"id": lambda *_: []}, set()),
        (by_name, {}, {"shelf"}),
        (by_another_function, {"id": "shelf"}, {"shelf", "pieces"}),
        (its_key, {}, {"shelf"}),
        (all_of_it, {}, {"shelf", "pieces", "note", "place"}),
        (who_knows, {}, {"shelf", "pieces", "note", "place"}),
    ],
)
def test_what_a_handler_reads(handler: Callable[..., None], needs: dict[str, Any], fields: set[str]) -> None:
    assert fields_read(subscribed(Stored, handler, **needs).by_type[Stored.wire_type]) == fields


@pytest.mark.parametrize(
    ("handler", "type_", "needs", "expected"),
    [
        (by_name, Stored, {}, []),
        (by_name, StoredAsRead, {}, []),
        (by_name, StoredWithRoom, {}, ["reader needs room of depot.stored.v1, which messages may lack"]),
        (nothing, StoredInWords, {}, ["reader does not accept pieces of depot.stored.v1: integer, not string"]),
        (a_field_that_is_not_there, Stored, {}, ["reader reads weight of depot.stored.v1, which has no such field"]),
        (nothing, Stored, {"id": "shelve"}, ["reader reads shelve of depot.stored.v1, which has no such field"]),
    ],
)
def test_a_consumer_gets_what_it_needs(
    handler: Callable[..., None], type_: type[Message], needs: dict[str, Any], expected: list[str]
) -> None:
    reader = Service(Api("reader", Layer.EXPERIENCE), subscriptions=subscribed(type_, handler, **needs))
    assert list(unmet_needs({"reader": reader}, {"depot.stored.v1": schema_of(Stored)})) == expected


def test_whoever_still_subscribes_to_what_is_gone_is_named() -> None:
    left = {name: it for name, it in schemas().items() if name != "user.user_erased.v1"}
    assert list(unmet_needs(installed(), left)) == [
        f"{who} subscribes to user.user_erased.v1, and there is no such contract"
        for who in ("aggregator", "notification", "order")
    ]


def test_a_consumer_of_today_is_told_what_an_older_producer_lacks() -> None:
    """As `python -m tools.contracts --deployed FOLDER` does."""
    older = schemas()
    del older["payment.payment_refunded.v1"]["properties"]["refund_id"]
    older["payment.payment_refunded.v1"]["required"].remove("refund_id")
    assert list(unmet_needs(installed(), older)) == [
        "order needs refund_id of payment.payment_refunded.v1, which messages may lack",
        "order reads refund_id of payment.payment_refunded.v1, which has no such field",
    ]
