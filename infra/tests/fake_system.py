"""A running system for the commands: one real service behind a real Envoy."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

import gateway
from chassis.service import Service
from chassis.testing import SERVICE_KEY
from gateway.exposed import openapi_document
from local import state
from local.envoy import Envoy

from .conftest import new_ports


@asynccontextmanager
async def running_system(
    service: Service, urls: dict[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[state.RunningSystem]:
    """The commands find this system. Behind its gateway each of the names has the routes of the service."""
    ports = new_ports()
    exposed = [gateway.ExposedService.from_openapi(name, openapi_document(service)) for name in urls]
    config = gateway.build_config(ports, urls, services=exposed, service_key=SERVICE_KEY)
    internal = {"internal": f"http://127.0.0.1:{ports.internal}"}
    create_time = psutil.Process().create_time()
    system = state.RunningSystem(os.getpid(), create_time, "memory", internal, SERVICE_KEY, {})
    monkeypatch.setattr(state, "running_system", lambda: system)
    async with Envoy(folder, ports.admin, config=config):
        yield system
