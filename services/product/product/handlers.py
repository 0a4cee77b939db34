"""Stock in the life of an order: reserved, then committed when the goods leave, or released; some come back.

| hold \\ command | ReserveStock               | CommitStock    | ReleaseStock             | RestockItems   |
|----------------|----------------------------|----------------|--------------------------|----------------|
| none           | StockReserved or -Rejected | parked         | StockReleased, tombstone | parked         |
| reserved       | StockReserved              | StockCommitted | StockReleased            | parked         |
| rejected       | StockRejected              | parked         | StockReleased            | parked         |
| committed      | StockReserved              | StockCommitted | StockCommitted: too late | ItemsRestocked |
| released       | StockRejected              | parked         | StockReleased            | parked         |

More than was committed does not come back: that is parked, too. What is withdrawn cannot be reserved any more, but what
is reserved of it can be committed, released and come back.
"""

from collections import Counter
from collections.abc import Iterable
from uuid import UUID

from chassis.database import UnitOfWork, rows
from chassis.messaging import Subscriptions
from contracts.product import (
    CommitStock,
    ItemsRestocked,
    Line,
    ReleaseStock,
    ReserveStock,
    RestockItems,
    StockCommitted,
    StockLow,
    StockRejected,
    StockReleased,
    StockReserved,
)
from product.errors import NeverLeft, NothingReserved
from product.models import Hold, Reservation, Return, Stock

on = Subscriptions()


def _named(command: ReserveStock | RestockItems, _: UnitOfWork) -> Iterable[UUID]:
    return [line.product_id for line in command.lines]


def _held(command: CommitStock | ReleaseStock, work: UnitOfWork) -> Iterable[UUID]:
    reservation = work.get(Reservation, command.order_id)
    return [UUID(id) for id in reservation.lines] if reservation else []


@on(ReserveStock, needs=[rows(Reservation, order_id="order_id"), rows(Stock, product_id=_named)])
def reserve_stock(command: ReserveStock, work: UnitOfWork) -> None:
    reservation = work.get(Reservation, command.order_id) or work.add(_reservation(command, work))
    if reservation.hold in (Hold.RESERVED, Hold.COMMITTED):
        work.send(StockReserved(order_id=command.order_id))
    else:
        work.send(StockRejected(order_id=command.order_id, product_ids=[UUID(id) for id in reservation.short]))


def _reservation(command: ReserveStock, work: UnitOfWork) -> Reservation:
    """All lines or none."""
    lines = _pieces(command.lines)
    stocks = _stocks(lines, work)
    enough = {str(stock.product_id) for stock, quantity in stocks if stock.available >= quantity}
    if short := [id for id in lines if id not in enough]:
        return Reservation.new(order_id=command.order_id, hold=Hold.REJECTED, lines=lines, short=short)
    for stock, quantity in stocks:
        stock.reserved += quantity
        note_level(stock, work)
    return Reservation.new(order_id=command.order_id, hold=Hold.RESERVED, lines=lines, short=[])


@on(CommitStock, needs=[rows(Reservation, order_id="order_id"), rows(Stock, product_id=_held)])
def commit_stock(command: CommitStock, work: UnitOfWork) -> None:
    reservation = work.get(Reservation, command.order_id)
    if reservation is None or reservation.hold in (Hold.REJECTED, Hold.RELEASED):
        raise NothingReserved(f"order {command.order_id}: {reservation.hold if reservation else 'never seen'}")
    if reservation.hold == Hold.RESERVED:
        reservation.hold = Hold.COMMITTED
        for stock, quantity in _stocks(reservation.lines, work):
            stock.on_hand -= quantity
            stock.reserved -= quantity
            stock.committed += quantity
    work.send(StockCommitted(order_id=command.order_id))


@on(ReleaseStock, needs=[rows(Reservation, order_id="order_id"), rows(Stock, product_id=_held)])
def release_stock(command: ReleaseStock, work: UnitOfWork) -> None:
    reservation = work.get(Reservation, command.order_id)
    if reservation is None:
        work.add(Reservation.new(order_id=command.order_id, hold=Hold.RELEASED, lines={}, short=[]))
    elif reservation.hold == Hold.COMMITTED:
        return work.send(StockCommitted(order_id=command.order_id))
    elif reservation.hold == Hold.RESERVED:
        reservation.hold = Hold.RELEASED
        for stock, quantity in _stocks(reservation.lines, work):
            stock.reserved -= quantity
            note_level(stock, work)
    work.send(StockReleased(order_id=command.order_id))


@on(
    RestockItems,
    needs=[rows(Reservation, order_id="order_id"), rows(Stock, product_id=_named), rows(Return, order_id="order_id")],
)
def restock_items(command: RestockItems, work: UnitOfWork) -> None:
    if work.get(Return, command.order_id, command.return_id) is None:
        lines = _pieces(command.lines)
        if not Counter(lines) <= _away(command.order_id, work):
            raise NeverLeft(f"order {command.order_id}: {lines}")
        work.add(Return.new(order_id=command.order_id, id=command.return_id, lines=lines))
        for stock, quantity in _stocks(lines, work):
            stock.on_hand += quantity
            stock.returned += quantity
            note_level(stock, work)
    work.send(ItemsRestocked(order_id=command.order_id, return_id=command.return_id))


def _away(order_id: UUID, work: UnitOfWork) -> Counter[str]:
    """The pieces of an order that left and did not come back yet, by product id."""
    reservation = work.get(Reservation, order_id)
    left = Counter(reservation.lines if reservation and reservation.hold == Hold.COMMITTED else {})
    for earlier in work.loaded(Return, order_id=order_id):
        left.subtract(earlier.lines)
    return left


def note_level(stock: Stock, work: UnitOfWork) -> None:
    """Say that a product is low when it gets so, not while it stays so."""
    low = not stock.withdrawn and stock.available < work.settings.low_stock_pieces
    if low and not stock.low:
        work.send(StockLow(product_id=stock.product_id, available=stock.available))
    stock.low = low


def _pieces(lines: Iterable[Line]) -> dict[str, int]:
    """By product id; two lines of one product count together."""
    pieces: Counter[str] = Counter()
    for line in lines:
        pieces[str(line.product_id)] += line.quantity
    return dict(pieces)


def _stocks(lines: dict[str, int], work: UnitOfWork) -> list[tuple[Stock, int]]:
    found = [(work.get(Stock, UUID(id)), quantity) for id, quantity in lines.items()]
    return [(stock, quantity) for stock, quantity in found if stock is not None]
