"""Each test of the suite gets every broker in turn that has the abilities it needs."""

import inspect
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from brokers.subject import ABLE, NETWORK, Subject
from servers import Servers


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in ABLE])
async def broker(request: pytest.FixtureRequest, servers: Servers, tmp_path: Path) -> AsyncIterator[Subject]:
    name, needed = request.param, getattr(inspect.unwrap(request.function), "needs", ())
    for ability in needed:
        if ability not in ABLE[name]:
            pytest.skip(f"{name} has not the ability {ability}")
    async with AsyncExitStack() as stack:
        subject = Subject(name, tmp_path, stack)
        if name != "memory":
            subject.server, proxy = servers(name)
            if NETWORK in needed:
                subject.proxy = await stack.enter_async_context(proxy)
        yield subject


@pytest.fixture
def account() -> str:
    """Of this test alone: a broker keeps the messages of the others."""
    return uuid4().hex
