"""Takes clients in as long as there is room for them.

The event loops do this by themselves, but without a bound: out of descriptors, asyncio writes thousands of
tracebacks a second, and uvloop drops who comes.
"""

import asyncio
import socket
from typing import Final

from hl_sessions.server.run.connections import Connections

_AT_ONCE: Final = 16
"""How many come in before others are served, and before another process may take some."""


async def accept(listener: socket.socket, connections: Connections) -> None:
    """Take in, for ever, who connects to a socket; others wait in the queue of the system.

    Args:
        listener: The socket, which does not block.
        connections: Where they go.
    """
    while True:
        await _somebody_connects(listener)
        if connections.room <= 0:
            await connections.make_room()
            continue
        try:
            for _ in range(min(_AT_ONCE, connections.room)):
                accepted, _address = listener.accept()
                connections.open(accepted)
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            # Another process was faster, or there is nobody any more.
            continue
        except OSError:
            # Out of descriptors or memory, whoever has taken them.
            await connections.make_room()


async def _somebody_connects(listener: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    connects = asyncio.Event()
    loop.add_reader(listener, connects.set)
    try:
        await connects.wait()
    finally:
        loop.remove_reader(listener)
