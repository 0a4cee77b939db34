"""The results of a bench, as tables on a terminal."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from statistics import quantiles

from rich.console import Console
from rich.table import Table

from loadtests.floor import Floor
from loadtests.meter import Seconds
from loadtests.profile import Profile


@dataclass(frozen=True)
class Report:
    """CPU in seconds by process, memory in bytes. `not_counted` is the process that generated the load."""

    title: str
    orders: int
    seconds: float
    accepted_seconds: Sequence[float]
    confirmed_seconds: Sequence[float]
    cpu: Seconds
    cart_cpu: Seconds
    not_counted: str
    memory: dict[str, int]
    outcomes: Counter[str]
    floor: Floor | None
    profiles: Sequence[Profile]
    refused: int = 0  # tries of checkouts that failed and were repeated
    standstill_seconds: float | None = None  # the longest, after a kill of the broker

    @property
    def cpu_ms(self) -> dict[str, float]:
        """CPU milliseconds per order by process, most expensive first."""
        by_cost = sorted(self.cpu, key=lambda name: -self.cpu[name])
        return {name: self.cpu[name] * 1000 / self.orders for name in by_cost if name != self.not_counted}

    @property
    def total_cpu_ms(self) -> float:
        return sum(self.cpu_ms.values())

    def cart_ms(self, name: str) -> float:
        return self.cart_cpu[name] * 1000 / self.orders

    @property
    def lines(self) -> dict[str, str]:
        """The results that are not listed by process."""
        total, load = self.total_cpu_ms, self.cpu[self.not_counted] * 1000 / self.orders
        lines = {
            "completed orders/s": f"{self.orders / self.seconds:.1f}",
            "accepted, p50 · p99": _percentiles(self.accepted_seconds),
            "confirmed, p50 · p99": _percentiles(self.confirmed_seconds),
            "CPU-ms per order": f"{total:.1f}",
        }
        if self.standstill_seconds is not None:
            tries = f"{self.orders} accepted, {self.refused} tries refused, all settled"
            lines["broker killed"] = f"{tries}; longest standstill {self.standstill_seconds:.1f} s"
        if self.floor:
            parts = ", ".join(f"{name} {s * 1000 / self.floor.orders:.2f}" for name, s in self.floor.seconds.items())
            lines["floor"] = f"{self.floor.cpu_ms:.2f} over {self.floor.orders} orders ({parts})"
            lines["ratio"] = f"{total / self.floor.cpu_ms:.1f} times the floor"
        lines["not counted"] = f"{load:.1f} CPU-ms per order for the load itself"
        outcomes = ", ".join(f"{count} {status}" for status, count in sorted(self.outcomes.items()))
        lines["audit"] = f"in balance: {outcomes}, with the warm-up"
        return lines


def print_report(console: Console, report: Report) -> None:
    processes = Table(title=report.title, title_justify="left", box=None, header_style="bold")
    processes.add_column("process")
    for column in ("CPU-ms/order", "share", "cart, not counted", "memory MB"):
        processes.add_column(column, justify="right")
    for name, ms in report.cpu_ms.items():
        used = f"{report.memory[name] / 2**20:.0f}"
        processes.add_row(name, f"{ms:.2f}", f"{ms / report.total_cpu_ms:.0%}", f"{report.cart_ms(name):.2f}", used)
    carts = sum(map(report.cart_ms, report.cpu_ms))
    memory = sum(report.memory[name] for name in report.cpu_ms) / 2**20
    processes.add_row("all", f"{report.total_cpu_ms:.2f}", "100%", f"{carts:.2f}", f"{memory:.0f}", style="bold")
    console.print(processes)
    summary = Table(box=None, show_header=False)
    for what, value in report.lines.items():
        summary.add_row(what, value)
    console.print(summary)
    for profile in report.profiles:
        console.print(_profile(profile))


def _profile(profile: Profile) -> Table:
    table = Table(title=f"\n{profile.name}: {profile.samples} samples", title_justify="left", box=None)
    for column in ("itself", "with what it calls"):
        table.add_column(column, no_wrap=True)
    for row in zip_longest(profile.own(), profile.whole(), fillvalue=("", 0)):
        table.add_row(*(f"{count / profile.samples:6.1%}  {function}" for function, count in row))
    return table


def _percentiles(seconds: Sequence[float]) -> str:
    if len(seconds) < 2:
        return "too few"
    cuts = quantiles(seconds, n=100, method="inclusive")
    return f"{cuts[49] * 1000:.0f} ms · {cuts[98] * 1000:.0f} ms"
