"""Stock in the life of an order: reserved, then committed when the goods leave, or released. Goods may come back.

| reservation | ReserveStock                   | CommitStock    | ReleaseStock             | RestockItems   |
|-------------|--------------------------------|----------------|--------------------------|----------------|
| none        | StockReserved or StockRejected | dead letter    | StockReleased, tombstone | dead letter    |
| reserved    | StockReserved                  | StockCommitted | StockReleased            | dead letter    |
| rejected    | StockRejected                  | dead letter    | StockReleased            | dead letter    |
| committed   | StockReserved                  | StockCommitted | StockCommitted: too late | ItemsRestocked |
| released    | StockRejected                  | dead letter    | StockReleased            | dead letter    |

A return of more pieces than were committed is a dead letter too. A withdrawn product cannot be reserved any more, but
existing reservations of it can still be committed, released and returned.
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
from product.config import ProductSettings
from product.errors import NothingReserved, ReturnExceedsCommitted
from product.models import Reservation, ReservationState, Return, Stock

on = Subscriptions()


def _product_ids_of_lines(command: ReserveStock | RestockItems, _: UnitOfWork) -> Iterable[UUID]:
    return [line.product_id for line in command.lines]


def _product_ids_of_reservation(
    command: CommitStock | ReleaseStock, work: UnitOfWork[ProductSettings]
) -> Iterable[UUID]:
    reservation = work.get(Reservation, command.order_id)
    return [UUID(id) for id in reservation.lines] if reservation else []


@on(ReserveStock, needs=[rows(Reservation, order_id="order_id"), rows(Stock, product_id=_product_ids_of_lines)])
def reserve_stock(command: ReserveStock, work: UnitOfWork[ProductSettings]) -> None:
    reservation = work.get(Reservation, command.order_id) or work.add(_try_to_reserve(command, work))
    if reservation.state in (ReservationState.RESERVED, ReservationState.COMMITTED):
        work.send(StockReserved(order_id=command.order_id))
    else:
        short = [UUID(id) for id in reservation.short_product_ids]
        work.send(StockRejected(order_id=command.order_id, product_ids=short))


def _try_to_reserve(command: ReserveStock, work: UnitOfWork[ProductSettings]) -> Reservation:
    """Reserve all lines, or none."""
    lines = _quantities(command.lines)
    stocks = _stock_rows(lines, work)
    enough = {str(stock.product_id) for stock, quantity in stocks if stock.available >= quantity}
    if short := [id for id in lines if id not in enough]:
        rejected = ReservationState.REJECTED
        return Reservation.new(order_id=command.order_id, state=rejected, lines=lines, short_product_ids=short)
    for stock, quantity in stocks:
        stock.reserved += quantity
        update_low_stock(stock, work)
    return Reservation.new(order_id=command.order_id, state=ReservationState.RESERVED, lines=lines)


@on(CommitStock, needs=[rows(Reservation, order_id="order_id"), rows(Stock, product_id=_product_ids_of_reservation)])
def commit_stock(command: CommitStock, work: UnitOfWork[ProductSettings]) -> None:
    reservation = work.get(Reservation, command.order_id)
    if reservation is None or reservation.state in (ReservationState.REJECTED, ReservationState.RELEASED):
        raise NothingReserved(f"order {command.order_id}: {reservation.state if reservation else 'no reservation'}")
    if reservation.state == ReservationState.RESERVED:
        reservation.state = ReservationState.COMMITTED
        for stock, quantity in _stock_rows(reservation.lines, work):
            stock.on_hand -= quantity
            stock.reserved -= quantity
            stock.committed += quantity
    work.send(StockCommitted(order_id=command.order_id))


@on(ReleaseStock, needs=[rows(Reservation, order_id="order_id"), rows(Stock, product_id=_product_ids_of_reservation)])
def release_stock(command: ReleaseStock, work: UnitOfWork[ProductSettings]) -> None:
    reservation = work.get(Reservation, command.order_id)
    if reservation is None:
        work.add(Reservation.new(order_id=command.order_id, state=ReservationState.RELEASED, lines={}))
    elif reservation.state == ReservationState.COMMITTED:
        return work.send(StockCommitted(order_id=command.order_id))
    elif reservation.state == ReservationState.RESERVED:
        reservation.state = ReservationState.RELEASED
        for stock, quantity in _stock_rows(reservation.lines, work):
            stock.reserved -= quantity
            update_low_stock(stock, work)
    work.send(StockReleased(order_id=command.order_id))


@on(
    RestockItems,
    needs=[
        rows(Reservation, order_id="order_id"),
        rows(Stock, product_id=_product_ids_of_lines),
        rows(Return, order_id="order_id"),
    ],
)
def restock_items(command: RestockItems, work: UnitOfWork[ProductSettings]) -> None:
    if work.get(Return, command.order_id, command.return_id) is None:
        lines = _quantities(command.lines)
        if not Counter(lines) <= _returnable(command.order_id, work):
            raise ReturnExceedsCommitted(f"order {command.order_id}: {lines}")
        work.add(Return.new(order_id=command.order_id, id=command.return_id, lines=lines))
        for stock, quantity in _stock_rows(lines, work):
            stock.on_hand += quantity
            stock.returned += quantity
            update_low_stock(stock, work)
    work.send(ItemsRestocked(order_id=command.order_id, return_id=command.return_id))


def _returnable(order_id: UUID, work: UnitOfWork[ProductSettings]) -> Counter[str]:
    """The pieces of an order that left and have not come back yet, by product id."""
    reservation = work.get(Reservation, order_id)
    returnable = Counter(reservation.lines if reservation and reservation.state == ReservationState.COMMITTED else {})
    for earlier in work.loaded(Return, order_id=order_id):
        returnable.subtract(earlier.lines)
    return returnable


def update_low_stock(stock: Stock, work: UnitOfWork[ProductSettings]) -> None:
    """Send StockLow when the stock falls below the limit, and not again while it stays below."""
    low = not stock.withdrawn and stock.available < work.settings.low_stock_pieces
    if low and not stock.low:
        work.send(StockLow(product_id=stock.product_id, available=stock.available))
    stock.low = low


def _quantities(lines: Iterable[Line]) -> dict[str, int]:
    """The pieces by product id: lines of the same product are added up."""
    pieces: Counter[str] = Counter()
    for line in lines:
        pieces[str(line.product_id)] += line.quantity
    return dict(pieces)


def _stock_rows(lines: dict[str, int], work: UnitOfWork[ProductSettings]) -> list[tuple[Stock, int]]:
    """Each stock row with the pieces of the order; a product that does not exist has no row and is left out."""
    found = [(work.get(Stock, UUID(id)), quantity) for id, quantity in lines.items()]
    return [(stock, quantity) for stock, quantity in found if stock is not None]
