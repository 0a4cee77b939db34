"""Whatever happens in the life of a group, in whatever order: random publishes, joins, leaves and crashes on a model.

What a failure prints are the steps that led to it, as a program.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any, cast
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from brokers.member import Member, count_of, handled_by, in_order, overlaps
from brokers.stream import KEYS, dealt, envelopes, put_all
from brokers.subject import ABLE, MEMBERS, Subject
from chassis.brokers.port import BrokerSubscription, StartPosition
from chassis.message import Envelope
from ledger.between import Between, BetweenSubscription
from ledger.waiting import until

FEW_KEYS = KEYS[:5]
COUNT = st.integers(5, 40)
SECONDS = st.sampled_from([0, 0.05, 0.3])
WHICH = st.integers(0, 2)


class Watched(Between):
    """Knows what its only subscription has received and not acknowledged."""

    unacknowledged: Sequence[Envelope] = ()

    async def subscribe(
        self, topics: Sequence[str], group: str, start: StartPosition = StartPosition.BEGINNING
    ) -> BrokerSubscription:
        return WatchedSubscription(await super().subscribe(topics, group, start), self)


class WatchedSubscription(BetweenSubscription):
    def __init__(self, subscription: BrokerSubscription, watched: Watched) -> None:
        super().__init__(subscription)
        self._watched = watched

    async def receive(self, limit: int) -> list[Envelope]:
        self._watched.unacknowledged = received = await super().receive(limit)
        return received

    async def acknowledge(self) -> None:
        await super().acknowledge()
        self._watched.unacknowledged = ()


class Group(RuleBasedStateMachine):
    """One publisher and up to three members. Each step publishes something, and all do their work meanwhile."""

    def __init__(self, broker: Subject, seen: Counter[str]) -> None:
        super().__init__()
        self.broker, self.topic, self.group = broker, f"t{uuid4().hex[:12]}.events", f"g{uuid4().hex[:12]}"
        self.most = 3 if MEMBERS in ABLE[broker.name] else 1
        self.seen = seen
        self.count = 0
        self.members: list[Member] = []
        self.running: list[tuple[Member, Watched, asyncio.Task[None]]] = []
        self.may_repeat: set[int] = set()
        self.runner = asyncio.Runner()
        self.publisher = broker.new_connection()
        self.publishing: asyncio.Task[None] | None = None

    @initialize()
    def begin(self) -> None:
        """With a member: in memory a group gets what is published after it came."""
        self.join(0, True, 0)

    @rule(count=COUNT, seconds=SECONDS)
    def go_on(self, count: int, seconds: float) -> None:
        self.runner.run(self._go_on(count, seconds))

    @precondition(lambda self: len(self.running) < self.most)
    @rule(count=COUNT, wait=st.booleans(), seconds=SECONDS)
    def join(self, count: int, wait: bool, seconds: float) -> None:
        self.runner.run(self._join(wait))
        self.go_on(count, seconds)

    @precondition(lambda self: self.running)
    @rule(count=COUNT, which=WHICH, seconds=SECONDS)
    def leave(self, count: int, which: int, seconds: float) -> None:
        self.runner.run(self._leave(count, *self.running.pop(which % len(self.running))))
        self.go_on(count, seconds)

    @precondition(lambda self: self.running)
    @rule(count=COUNT, which=WHICH, seconds=SECONDS)
    def crash(self, count: int, which: int, seconds: float) -> None:
        """In the middle of a batch, if one comes."""
        self.runner.run(self._crash(count, *self.running.pop(which % len(self.running))))
        self.go_on(count, seconds)

    async def _go_on(self, count: int, seconds: float) -> None:
        messages, before = envelopes(self.topic, range(self.count, self.count + count), FEW_KEYS), self.publishing
        self.count += count

        async def in_turn() -> None:
            if before is not None:
                await before
            await put_all(self.publisher.publish, messages)

        self.publishing = asyncio.create_task(in_turn())
        await asyncio.sleep(seconds)

    async def _join(self, wait: bool) -> None:
        watched = Watched(self.broker.new_connection())
        member = Member(watched, self.topic, self.group, f"member {len(self.members)}", batch=7)
        member.pause_seconds = 0.002
        self.members.append(member)
        self.running.append((member, watched, asyncio.create_task(member.run(member.stop))))
        if wait:
            await until(lambda: member.outage.reason is None, 60)

    async def _leave(self, count: int, member: Member, watched: Watched, running: asyncio.Task[None]) -> None:
        await self._go_on(count, 0)
        member.stop.set()
        await running
        await watched.close()
        assert watched.unacknowledged == ()
        self.seen["left"] += bool(member.handled)

    async def _crash(self, count: int, member: Member, watched: Watched, running: asyncio.Task[None]) -> None:
        await self._go_on(count, 0)
        for _ in range(20):
            if not watched.unacknowledged:
                await asyncio.sleep(0.01)
        self.may_repeat |= {int(envelope.body) for envelope in watched.unacknowledged}
        self.seen["crashed with messages"] += bool(watched.unacknowledged)
        running.cancel()
        await asyncio.wait([running])
        await watched.close()

    @invariant()
    def what_came_is_in_order(self) -> None:
        for key, numbers in in_order(*self.members).items():
            assert numbers == dealt(self.count, FEW_KEYS)[key][: len(numbers)]

    def teardown(self) -> None:
        """At the end everything has come, and nothing came twice that had been acknowledged."""
        try:
            self.runner.run(self._come_to_an_end())
        finally:
            self.runner.run(self.publisher.close())
            self.runner.close()

    async def _come_to_an_end(self) -> None:
        if not self.running:
            await self._join(False)
        try:
            await until(lambda: count_of(*self.members) == self.count, 60)
        finally:
            while self.running:
                await self._leave(0, *self.running.pop())
        assert in_order(*self.members) == dealt(self.count, FEW_KEYS)
        assert overlaps(*self.members) == []
        times = Counter(it.number for it in handled_by(*self.members))
        assert {number for number, count in times.items() if count > 1} <= self.may_repeat
        self.seen["shared"] += sum(bool(member.handled) for member in self.members) > 1


@pytest.mark.parametrize("thoroughly", [False, pytest.param(True, marks=[pytest.mark.long, pytest.mark.timeout(600)])])
def test_nothing_is_lost_or_out_of_order_and_only_what_was_not_acknowledged_comes_twice_whatever_happens(
    broker: Subject, thoroughly: bool
) -> None:
    examples = (12 if broker.name == "memory" else 8) * (4 if thoroughly else 1)
    seen = Counter[str]()
    how = settings(
        max_examples=examples,
        stateful_step_count=12,
        phases=[Phase.generate],  # to find shorter steps would take too many real lives
        suppress_health_check=[HealthCheck.too_slow],
    )
    run_state_machine_as_test(cast(Any, lambda: Group(broker, seen)), settings=how)
    assert all(seen[it] for it in ("crashed with messages", "left", "shared")), seen
