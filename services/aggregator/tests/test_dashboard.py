"""The dashboard: in every response the totals are those of the entries, in whatever order the events arrived."""

import asyncio
from datetime import date, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chassis.database import new_id
from contracts.order import ANNOUNCED, OrderEvent, OrderPlaced, OrderStatus

from .conftest import API, PLACED_AT, Harness, order_state

DAY = PLACED_AT.date()
days = count()


async def read(harness: Harness, day: date | None = DAY, status: int = 200, **params: Any) -> Any:
    async with harness.with_role("staff") as client:
        given = params if day is None else {"day": day.isoformat(), **params}
        answer = await client.get(f"{API}/dashboard", params=given)
    assert answer.status_code == status, answer.text
    return answer.json()


def totals_of(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """The totals by their definition in the contract."""
    by_status: dict[str, int] = {}
    for entry in entries:
        by_status[entry["status"]] = by_status.get(entry["status"], 0) + 1
    sold = [entry for entry in entries if entry["status"] in ("shipped", "delivered")]
    return {
        "orders": len(entries),
        "by_status": by_status,
        "revenue_cents": sum(entry["total_cents"] - entry["refunded_cents"] for entry in sold),
        "open_shipments": sum(by_status.get(status, 0) for status in ("confirmed", "withdrawing", "shipped")),
    }


def is_consistent(answer: Any) -> bool:
    assert answer["next_cursor"] is None
    assert answer["totals"] == totals_of(answer["entries"])
    assert answer["position"] == sum(entry["version"] for entry in answer["entries"])
    return True


@st.composite
def histories(draw: st.DrawFn) -> list[list[OrderEvent]]:
    """Batches of events of some orders of one day; every event is there at least once, in any order."""
    day = PLACED_AT + timedelta(days=next(days))
    events = []
    for _ in range(draw(st.integers(1, 4))):
        id, total = new_id(), draw(st.integers(1, 10_000))
        placed_at = day + timedelta(seconds=draw(st.integers(0, 86_399)))
        for version, status in enumerate(draw(st.lists(st.sampled_from(OrderStatus), min_size=1, max_size=5)), 1):
            money: dict[str, Any] = {"total_cents": total, "refunded_cents": draw(st.integers(0, total))}
            events.append(order_state(ANNOUNCED[status], version, id, placed_at=placed_at, **money))
    again = draw(st.lists(st.sampled_from(events), max_size=5))
    sequence = draw(st.permutations(events + again))
    size = draw(st.integers(1, len(sequence)))
    return [sequence[at : at + size] for at in range(0, len(sequence), size)]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories())
async def test_totals_follow_entries_and_entries_follow_the_newest_events(
    harness: Harness, history: list[list[OrderEvent]]
) -> None:
    day, position = history[0][0].placed_at.date(), 0
    newest: dict[str, OrderEvent] = {}
    for batch in history:
        await harness.aggregator.send(*batch)
        for event in batch:
            known = newest.get(str(event.order_id))
            newest[str(event.order_id)] = event if known is None or event.version > known.version else known
        answer = await read(harness, day, limit=100)
        assert is_consistent(answer)
        assert answer["position"] >= position
        position = answer["position"]
        shown = {entry["order_id"]: (entry["version"], entry["status"]) for entry in answer["entries"]}
        assert shown == {id: (event.version, event.status) for id, event in newest.items()}


async def test_every_response_is_of_one_moment_while_orders_change(harness: Harness) -> None:
    ids = [new_id() for _ in range(40)]
    statuses = [OrderStatus.PLACED, OrderStatus.CONFIRMED, OrderStatus.SHIPPED, OrderStatus.DELIVERED]

    async def sell() -> None:
        for version, status in enumerate(statuses, 1):
            for at in range(0, len(ids), 5):
                await harness.aggregator.send(
                    *[order_state(ANNOUNCED[status], version, id, refunded_cents=version) for id in ids[at : at + 5]]
                )

    selling = asyncio.create_task(sell())
    positions = []
    while not selling.done():
        answer = await read(harness, limit=100)
        assert is_consistent(answer)
        positions.append(answer["position"])
    assert positions == sorted(positions)
    assert len(set(positions)) > 5
    assert (await read(harness))["position"] == 160


async def test_pages_show_each_order_of_the_day_once_the_newest_first(harness: Harness) -> None:
    start = PLACED_AT
    moments = [start, *(start + timedelta(seconds=second // 3) for second in range(20)), start + timedelta(hours=23)]
    others = [start - timedelta(microseconds=1), start + timedelta(days=1)]
    events = [order_state(OrderPlaced, 1, new_id(), placed_at=moment) for moment in [*moments, *others]]
    await harness.aggregator.send(*events)
    page = await read(harness, limit=5)
    found = page["entries"]
    while page["next_cursor"] is not None:
        page = await read(harness, limit=5, cursor=page["next_cursor"])
        assert page["totals"]["orders"] == len(moments)
        found += page["entries"]
    of_day = sorted(events[: len(moments)], key=lambda event: (event.placed_at, event.order_id), reverse=True)
    assert [entry["order_id"] for entry in found] == [str(event.order_id) for event in of_day]


async def test_today_is_shown_unless_another_day_is_asked_for(harness: Harness) -> None:
    empty = await read(harness, None)
    assert empty["day"] == datetime.now(PLACED_AT.tzinfo).date().isoformat()
    assert empty["totals"] == {"orders": 0, "by_status": {}, "revenue_cents": 0, "open_shipments": 0}
    assert (empty["position"], empty["entries"], empty["next_cursor"]) == (0, [], None)


@pytest.mark.parametrize(("name", "value"), [("day", "2026-02-30"), ("day", "9999-12-31"), ("cursor", "WyJ4IiwieCJd")])
async def test_bad_input_names_its_field(harness: Harness, name: str, value: str) -> None:
    async with harness.with_role("staff") as client:
        answer = await client.get(f"{API}/dashboard", params={name: value})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, name)


@pytest.mark.parametrize(("role", "status"), [("customer", 403), ("operator", 403), ("staff", 200), ("service", 200)])
async def test_only_staff_sees_the_dashboard(harness: Harness, role: str, status: int) -> None:
    async with harness.with_role(role) as client:
        assert (await client.get(f"{API}/dashboard")).status_code == status
