"""What tests ask the ledger: what is booked, what is parked, what was counted."""

from collections.abc import Sequence
from typing import Any

import httpx
from prometheus_client import REGISTRY

from chassis.testing import Launched
from ledger.models import Account
from ledger.waiting import until


async def history(ledger: Launched, account: str) -> list[int]:
    """The numbers booked on an account, in their order."""
    return next((it.history for it in await ledger.rows(Account) if it.id == account), [])


async def until_booked(ledger: Launched, account: str, numbers: Sequence[int]) -> None:
    """Until these are, and fail at once on any other."""

    async def are_booked() -> bool:
        found = await history(ledger, account)
        assert found == list(numbers)[: len(found)]
        return len(found) == len(numbers)

    await until(are_booked, 60)


async def dead_letters(ledger: Launched) -> list[dict[str, Any]]:
    async with ledger.as_staff() as operator:
        found: list[dict[str, Any]] = (await operator.get("/internal/dead-letters")).json()
    return found


async def until_dead_lettered(ledger: Launched, count: int) -> list[dict[str, Any]]:
    async def are_dead_lettered() -> bool:
        return len(await dead_letters(ledger)) == count

    await until(are_dead_lettered, 60)
    return await dead_letters(ledger)


async def act_on_dead_letter(ledger: Launched, key: str, what: str) -> httpx.Response:
    """Have an operator replay or drop."""
    async with ledger.as_staff() as operator:
        return await operator.post(f"/internal/dead-letters/{key}/{what}")


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"{name}_total", {"service": "ledger", **labels}) or 0
