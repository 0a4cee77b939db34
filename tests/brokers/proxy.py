"""A TCP proxy between clients and a broker: the network of the tests, which can be cut and can go dead."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Self

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: to close is to reset


@dataclass
class Proxy:
    """Listens on `port` and passes everything on to `behind`, both on 127.0.0.1, while it is entered."""

    port: int
    behind: int
    _listener: asyncio.Server | None = field(default=None, init=False)
    _alive: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _open: set[asyncio.StreamWriter] = field(default_factory=set, init=False)

    async def __aenter__(self) -> Self:
        self._alive = asyncio.Event()
        self._alive.set()
        await self._listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._cut()

    @asynccontextmanager
    async def cut(self) -> AsyncIterator[None]:
        """All connections are reset, and none is accepted within the block."""
        self._cut()
        try:
            yield
        finally:
            await self._listen()

    @asynccontextmanager
    async def dead(self) -> AsyncIterator[None]:
        """Within the block connections are accepted but no byte passes, and neither side gets an error."""
        self._alive.clear()
        try:
            yield
        finally:
            self._alive.set()

    async def _listen(self) -> None:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    def _cut(self) -> None:
        if self._listener is not None:
            self._listener.close()
        for writer in self._open:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = {writer}
        try:
            with suppress(OSError):
                reader_there, writer_there = await asyncio.open_connection("127.0.0.1", self.behind)
                ends.add(writer_there)
                self._open |= ends
                ways = [self._pass(reader, writer_there), self._pass(reader_there, writer)]
                await asyncio.wait(map(asyncio.ensure_future, ways), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._open -= ends
            for end in ends:
                end.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(64 * 1024):
                await self._alive.wait()
                writer.write(data)
                await writer.drain()
