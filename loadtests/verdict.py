"""What a load found, from its ops log: operations, outcomes of orders, and which thresholds are broken."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from loadtests.ops_log import Operation, Outcome


@dataclass
class Row:
    """All operations of one name."""

    seconds: list[float] = field(default_factory=list)  # of those that were done
    outcomes: Counter[Outcome] = field(default_factory=Counter)

    def percentile_ms(self, percent: float) -> float:
        """Nearest rank, over all operations that were done."""
        ordered = sorted(self.seconds)
        return 1000 * ordered[math.ceil(len(ordered) * percent / 100) - 1] if ordered else 0


@dataclass
class Findings:
    """All operations of a load."""

    rows: dict[str, Row] = field(default_factory=lambda: defaultdict(Row))
    errors: Counter[str] = field(default_factory=Counter)  # by operation and code
    refusals: Counter[str] = field(default_factory=Counter)  # of requests, by code
    cancellations: Counter[str] = field(default_factory=Counter)  # of orders, by reason
    order_ids: set[str] = field(default_factory=set)  # of all accepted checkouts
    pieces_added: int = 0  # to the stock, by merchants
    operations: int = 0

    @classmethod
    def of(cls, operations: Iterable[Operation]) -> "Findings":
        found = cls()
        for it in operations:
            found.add(it)
        return found

    def add(self, it: Operation) -> None:
        self.operations += 1
        row = self.rows[it.name]
        row.outcomes[it.outcome] += 1
        if it.outcome == "ack":
            row.seconds.append(it.seconds)
        elif it.error:
            self.errors[f"{it.name}: {it.code or it.status or 'no answer'}"] += 1
        elif it.code:
            self.refusals[it.code] += 1
        if it.name == "POST /checkouts" and it.outcome == "ack":
            self.order_ids.add(it.detail["order_id"])
        if it.name == "cancelled":
            self.cancellations[it.detail["reason"]] += 1
        if it.name == "POST /product/products" and it.outcome == "ack":
            self.pieces_added += sum(product["on_hand"] for product in it.detail["asked"])

    def broken_thresholds(self, thresholds: dict[str, Any]) -> list[str]:
        """A sentence for each. An operation that never happened breaks its threshold, too."""
        broken = []
        share = self.errors.total() / max(1, self.operations)
        if share > thresholds["max_error_share"]:
            broken.append(f"{share:.2%} of the operations were errors, more than {thresholds['max_error_share']:.2%}")
        for name, limit in thresholds["p99_ms"].items():
            row = self.rows.get(name, Row())
            if not row.seconds:
                broken.append(f"{name} never happened")
            elif (found := row.percentile_ms(99)) > limit:
                broken.append(f"p99 of {name} was {found:.0f} ms, more than {limit} ms")
        return broken
