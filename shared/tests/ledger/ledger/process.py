"""The ledger as a process of its own, and how a test talks to it."""

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from chassis.process.ports import reserve_port
from chassis.testing import SERVICE_KEY

HOME = Path(__file__).parent.parent
RUN = ("chassis.process.run", "ledger", "all")


@dataclass
class Running:
    """A process, and where it answers."""

    process: Process
    url: str

    async def get(self, path: str) -> httpx.Response | None:
        try:
            async with httpx.AsyncClient() as client:
                return await client.get(self.url + path)
        except httpx.TransportError:
            return None

    async def until(self, path: str, status: int = 200, seconds: float = 60) -> Any:
        """What it answers, once it does so with this status."""
        end = time.monotonic() + seconds
        while (answer := await self.get(path)) is None or answer.status_code != status:
            assert self.process.returncode is None, "the process has ended"
            assert time.monotonic() < end, f"{path}: {answer.text if answer else 'no answer'}"
            await asyncio.sleep(0.05)
        return answer.json()

    async def stop(self) -> tuple[int, float]:
        """Its exit code after SIGTERM, and how many seconds it took."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(self.process.wait(), 20)
        return code, time.monotonic() - started


@asynccontextmanager
async def running(
    folder: Path, *module: str, service: str = "ledger.main:service", **settings: str
) -> AsyncIterator[Running]:
    """`python -m MODULE…`, killed at the end if it still runs. `folder` makes the ledger known as a service."""
    known = folder / "ledger-1.dist-info"
    known.mkdir(exist_ok=True)
    (known / "METADATA").write_text("Metadata-Version: 2.1\nName: ledger\nVersion: 1\n")
    (known / "entry_points.txt").write_text(f"[services]\nledger = {service}\n")
    port = settings.setdefault("PORT", str(reserve_port()))
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{folder}:{HOME}", "SERVICE_KEY": SERVICE_KEY, **settings}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *module, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        yield Running(process, f"http://127.0.0.1:{port}")
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
