"""kill -9 of the service around its calls to the provider: each order is charged, refunded and voided once."""

import asyncio
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from chassis.brokers.memory import MemoryBroker
from chassis.database import new_id
from chassis.database.loading import load_rows
from chassis.database.pool import Database
from chassis.jobs import Tasks
from chassis.message import Message
from chassis.process.instance import Instance
from chassis.process.ports import reserve_port
from chassis.testing import SERVICE_KEY, empty_database, launched
from payment.main import service
from payment.models import Payment
from simulators.server import Simulators

from .crashing import POINTS
from .money import CENTS, check_money, command, listed, send, settings

ORDERS = 8


async def handle(database: Database, *messages: Message) -> None:
    """Handle commands as the consumer does: committed, with no call to the provider yet."""
    async with database.work() as work:
        subscriptions = [service.subscriptions.by_type[message.wire_type] for message in messages]
        await load_rows(work, [(message, it.needs) for message, it in zip(messages, subscriptions, strict=True)])
        for message, it in zip(messages, subscriptions, strict=True):
            it.handler(message, work)


async def run_until_crash(point: str, values: dict[str, str]) -> None:
    environment = {"PATH": os.environ["PATH"], **values, "PORT": str(reserve_port())}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        Path(__file__).with_name("crashing.py"),
        point,
        env=environment,
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert await asyncio.wait_for(process.wait(), 60) == -signal.SIGKILL


@pytest.mark.parametrize("point", POINTS)
async def test_a_crash_around_a_call_moves_money_once(
    outside: Simulators, provider: httpx.AsyncClient, point: str
) -> None:
    url = await empty_database(service)
    values = {name: str(value) for name, value in settings(outside).items()}
    values |= {"DATABASE_URL": url, "SERVICE_KEY": SERVICE_KEY, "BROKER": "memory"}
    its = service.settings.of("payment", **{name.lower(): value for name, value in values.items()}, port=reserve_port())
    database = Database("payment", its)
    orders: list[UUID] = [new_id() for _ in range(ORDERS)]
    for letter in "ACRV":
        await handle(database, *(command(letter, id) for id in orders))
        await run_until_crash(point, values)
        async with database.work() as work:
            await work.execute("UPDATE attempts SET due_at = now() WHERE outcome IS NULL")  # ends the leases
        broker = MemoryBroker()
        async with launched(Instance(replace(service, tasks=Tasks()), its, broker), broker) as payment:
            await send(payment)
            await check_money(payment, provider, orders)
            assert {it.state for it in await payment.rows(Payment)} == {
                {"A": "authorized", "C": "captured", "R": "captured", "V": "voided"}[letter]
            }
    for order_id in orders:
        (theirs,) = await listed(provider, order_id)
        assert (theirs["captured_cents"], theirs["refunded_cents"]) == (CENTS, CENTS)
    await database.close()
