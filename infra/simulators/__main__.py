"""`python -m simulators`: provider and carrier on SIMULATORS_PORT, a mail server on SIMULATORS_MAIL_PORT if one is given.

Their memory is in SIMULATORS_STATE (a sqlite file). The environment may also give the fields of `SimulatorSettings`, in capitals.
"""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException
from pydantic import ValidationError

from simulators import carrier, mail, provider, webhooks
from simulators.simulation import CurrentSimulation, Simulation, SimulatorSettings


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings = SimulatorSettings.model_validate(
        {name.lower(): value for name, value in os.environ.items() if name in _NAMES}
    )
    app.state.world = Simulation(os.environ.get("SIMULATORS_STATE", "outside.sqlite"), settings)
    working = asyncio.create_task(_work(app.state.world))
    working.add_done_callback(_end_if_failed)
    mail_port = os.environ.get("SIMULATORS_MAIL_PORT")
    mails = await mail.serve(app.state.world, HOST, int(mail_port)) if mail_port else None
    yield
    if mails is not None:
        mails.close()
    working.cancel()
    with suppress(asyncio.CancelledError):
        await working


async def _work(world: Simulation) -> None:
    async with asyncio.TaskGroup() as going_on:
        going_on.create_task(carrier.work(world))
        going_on.create_task(webhooks.work(world))


def _end_if_failed(working: asyncio.Task[None]) -> None:
    """A world that stands still would be worse than one that is restarted."""
    if not working.cancelled() and (error := working.exception()):
        logging.getLogger("outside").critical("carrier or webhooks failed", exc_info=error)
        signal.raise_signal(signal.SIGTERM)


HOST = os.environ.get("SIMULATORS_HOST", "127.0.0.1")
_NAMES = {name.upper() for name in SimulatorSettings.model_fields}
app = FastAPI(title="The outside world", lifespan=lifespan)
app.include_router(provider.router)
app.include_router(provider.books)
app.include_router(carrier.router)
app.include_router(mail.router)


@app.get("/settings")
async def told(world: CurrentSimulation) -> SimulatorSettings:
    return world.settings


@app.put("/settings")
async def tell(body: dict[str, Any], world: CurrentSimulation) -> SimulatorSettings:
    """Change what is given, keep the rest. Shipments on their way keep the time they were given."""
    try:
        world.settings = SimulatorSettings.model_validate(world.settings.model_dump() | body)
    except ValidationError as error:
        raise HTTPException(422, error.errors(include_url=False, include_context=False)) from error
    return world.settings


if __name__ == "__main__":
    port = int(os.environ.get("SIMULATORS_PORT", "8090"))
    uvicorn.run(app, host=HOST, port=port, log_level="warning", timeout_graceful_shutdown=1)
