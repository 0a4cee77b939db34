"""`python -m simulators`: provider and carrier on SIMULATORS_PORT, mail server on SIMULATORS_MAIL_PORT, if that is set.

Their state is in the sqlite file SIMULATORS_STATE. The fields of `SimulatorSettings` are variables, too, in capitals.
"""

import asyncio
import logging
import os
import signal
import sys
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
    simulation = Simulation(os.environ.get("SIMULATORS_STATE", "simulators.sqlite"), settings_from_environment())
    app.state.simulation = simulation
    background = asyncio.create_task(_run_background(simulation))
    background.add_done_callback(_end_if_failed)
    mail_port = os.environ.get("SIMULATORS_MAIL_PORT")
    mail_server = await mail.serve(simulation, HOST, int(mail_port)) if mail_port else None
    yield
    if mail_server is not None:
        mail_server.close()
    background.cancel()
    with suppress(asyncio.CancelledError):
        await background


async def _run_background(simulation: Simulation) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(carrier.move_shipments(simulation))
        tasks.create_task(webhooks.deliver_webhooks(simulation))


def _end_if_failed(background: asyncio.Task[None]) -> None:
    """End the program: its supervisor restarts it, whereas a program whose parcels stand still would go unnoticed."""
    if not background.cancelled() and (error := background.exception()):
        logging.getLogger("simulators").critical("carrier or webhooks failed", exc_info=error)
        signal.raise_signal(signal.SIGTERM)


def settings_from_environment() -> SimulatorSettings:
    names = {name.upper(): name for name in SimulatorSettings.model_fields}
    return SimulatorSettings.model_validate({names[it]: value for it, value in os.environ.items() if it in names})


HOST = os.environ.get("SIMULATORS_HOST", "127.0.0.1")
app = FastAPI(title="Simulators", lifespan=lifespan)
app.include_router(provider.router)
app.include_router(provider.totals_router)
app.include_router(carrier.router)
app.include_router(mail.router)


@app.get("/settings")
async def get_settings(simulation: CurrentSimulation) -> SimulatorSettings:
    return simulation.settings


@app.put("/settings")
async def change_settings(body: dict[str, Any], simulation: CurrentSimulation) -> SimulatorSettings:
    """Change the given settings and keep the rest. Shipments that are on their way keep their times."""
    try:
        simulation.settings = SimulatorSettings.model_validate(simulation.settings.model_dump() | body)
    except ValidationError as error:
        raise HTTPException(422, error.errors(include_url=False, include_context=False)) from error
    return simulation.settings


def main() -> None:
    try:
        settings_from_environment()
        port = int(os.environ.get("SIMULATORS_PORT", "8090"))
    except ValidationError as error:
        wrong = (f"{'.'.join(map(str, it['loc'])).upper()}: {it['msg']}" for it in error.errors())
        sys.exit(f"simulators: {'; '.join(wrong)}")
    except ValueError:
        sys.exit("simulators: SIMULATORS_PORT is not a number")
    uvicorn.run(app, host=HOST, port=port, log_level="warning", timeout_graceful_shutdown=1)


if __name__ == "__main__":
    main()
