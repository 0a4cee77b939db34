"""Stock in the life of an order: reserved, then committed when the goods leave, or released.

| hold \\ command | ReserveStock               | CommitStock    | ReleaseStock             |
|----------------|----------------------------|----------------|--------------------------|
| none           | StockReserved or -Rejected | parked         | StockReleased, tombstone |
| reserved       | StockReserved              | StockCommitted | StockReleased            |
| rejected       | StockRejected              | parked         | StockReleased            |
| committed      | StockReserved              | StockCommitted | StockCommitted: too late |
| released       | StockRejected              | parked         | StockReleased            |
"""

from collections import Counter
from collections.abc import Iterable
from uuid import UUID

from chassis.subscriptions import Subscriptions, rows
from chassis.work import UnitOfWork
from contracts.product import (
    CommitStock,
    ReleaseStock,
    ReserveStock,
    StockCommitted,
    StockRejected,
    StockReleased,
    StockReserved,
)
from product.errors import NothingReserved
from product.models import Hold, Reservation, Stock

on = Subscriptions()


def _wanted(command: ReserveStock, _: UnitOfWork) -> Iterable[UUID]:
    return [line.product_id for line in command.lines]


def _held(command: CommitStock | ReleaseStock, work: UnitOfWork) -> Iterable[UUID]:
    reservation = work.get(Reservation, command.order_id)
    return [UUID(id) for id in reservation.lines] if reservation else []


@on(ReserveStock, needs=[rows(Reservation, order_id="order_id"), rows(Stock, product_id=_wanted)])
def reserve_stock(command: ReserveStock, work: UnitOfWork) -> None:
    reservation = work.get(Reservation, command.order_id) or work.add(_reservation(command, work))
    if reservation.hold in (Hold.RESERVED, Hold.COMMITTED):
        work.send(StockReserved(order_id=command.order_id))
    else:
        work.send(StockRejected(order_id=command.order_id, product_ids=[UUID(id) for id in reservation.short]))


def _reservation(command: ReserveStock, work: UnitOfWork) -> Reservation:
    """All lines or none."""
    pieces: Counter[UUID] = Counter()
    for line in command.lines:
        pieces[line.product_id] += line.quantity
    stocks = {id: stock for id in pieces if (stock := work.get(Stock, id)) is not None}
    short = [str(id) for id in pieces if id not in stocks or stocks[id].available < pieces[id]]
    lines = {str(id): quantity for id, quantity in pieces.items()}
    if short:
        return Reservation.new(order_id=command.order_id, hold=Hold.REJECTED, lines=lines, short=short)
    for id, stock in stocks.items():
        stock.reserved += pieces[id]
    return Reservation.new(order_id=command.order_id, hold=Hold.RESERVED, lines=lines, short=[])


@on(CommitStock, needs=[rows(Reservation, order_id="order_id"), rows(Stock, product_id=_held)])
def commit_stock(command: CommitStock, work: UnitOfWork) -> None:
    reservation = work.get(Reservation, command.order_id)
    if reservation is None or reservation.hold in (Hold.REJECTED, Hold.RELEASED):
        raise NothingReserved(f"order {command.order_id}: {reservation.hold if reservation else 'never seen'}")
    if reservation.hold == Hold.RESERVED:
        reservation.hold = Hold.COMMITTED
        for stock, quantity in _stocks(reservation, work):
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
        for stock, quantity in _stocks(reservation, work):
            stock.reserved -= quantity
    work.send(StockReleased(order_id=command.order_id))


def _stocks(reservation: Reservation, work: UnitOfWork) -> list[tuple[Stock, int]]:
    held = [(work.get(Stock, UUID(id)), quantity) for id, quantity in reservation.lines.items()]
    return [(stock, quantity) for stock, quantity in held if stock is not None]
