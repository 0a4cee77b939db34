"""`python -m outside`: provider and carrier on OUTSIDE_PORT, with their memory in OUTSIDE_STATE (a sqlite file).

The environment may also give the fields of `Settings`, in capitals.
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

from outside import carrier, provider
from outside.world import Settings, TheWorld, World


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings = Settings.model_validate({name.lower(): value for name, value in os.environ.items() if name in _NAMES})
    app.state.world = TheWorld(os.environ.get("OUTSIDE_STATE", "outside.sqlite"), settings)
    working = asyncio.create_task(carrier.work(app.state.world))
    working.add_done_callback(_end_if_failed)
    yield
    working.cancel()
    with suppress(asyncio.CancelledError):
        await working


def _end_if_failed(working: asyncio.Task[None]) -> None:
    """A carrier that stands still would be worse than one that is restarted."""
    if not working.cancelled() and (error := working.exception()):
        logging.getLogger("outside").critical("the carrier failed", exc_info=error)
        signal.raise_signal(signal.SIGTERM)


_NAMES = {name.upper() for name in Settings.model_fields}
app = FastAPI(title="The outside world", lifespan=lifespan)
app.include_router(provider.router)
app.include_router(carrier.router)


@app.get("/settings")
async def told(world: World) -> Settings:
    return world.settings


@app.put("/settings")
async def tell(body: dict[str, Any], world: World) -> Settings:
    """Change what is given, keep the rest. Shipments on their way keep the time they were given."""
    try:
        world.settings = Settings.model_validate(world.settings.model_dump() | body)
    except ValidationError as error:
        raise HTTPException(422, error.errors(include_url=False, include_context=False)) from error
    return world.settings


if __name__ == "__main__":
    host, port = os.environ.get("OUTSIDE_HOST", "127.0.0.1"), int(os.environ.get("OUTSIDE_PORT", "8090"))
    uvicorn.run(app, host=host, port=port, log_level="warning", timeout_graceful_shutdown=1)
