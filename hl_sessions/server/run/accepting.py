"""Accepts connections as long as there is room for them.

The event loops could accept by themselves, but have no limit: when descriptors run out, asyncio writes
thousands of tracebacks a second, and uvloop drops new clients.
"""

import asyncio
import socket
from typing import Final

from hl_sessions.server.run.connections import Connections

_AT_ONCE: Final = 16
"""How many connections are accepted before requests have their turn, and other workers a chance."""


async def accept(listener: socket.socket, connections: Connections) -> None:
    """Accept connections until cancelled. Without room, clients wait in the queue of the system.

    Args:
        listener: The socket, which does not block.
        connections: Serves the accepted sockets.
    """
    while True:
        await _wait_for_client(listener)
        if connections.room <= 0:
            await connections.make_room()
            continue
        try:
            for _ in range(min(_AT_ONCE, connections.room)):
                accepted, _address = listener.accept()
                connections.open(accepted)
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            # The queue is empty: another worker was faster, or the client has gone.
            continue
        except OSError:
            # Something else has taken the last descriptor.
            await connections.make_room()


async def _wait_for_client(listener: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    connects = asyncio.Event()
    loop.add_reader(listener, connects.set)
    try:
        await connects.wait()
    finally:
        loop.remove_reader(listener)
