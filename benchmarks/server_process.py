"""The server as ``hl-sessions serve`` runs it, with one more FastAPI route, which answers a constant."""

from __future__ import annotations

import multiprocessing
import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.api import listening_socket
from hl_sessions.server.application import create_application
from hl_sessions.server.run.garbage import search_less
from hl_sessions.server.run.serving import make_server
from hl_sessions.server.settings import ServerSettings

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

__all__ = ["CONSTANT_PATH", "ServerProcess", "serving"]

CONSTANT_PATH = "/v4/constant"


@dataclass(frozen=True)
class ServerProcess:
    """Where it is, and which process.

    Attributes:
        address: host and port.
        process_id: of the operating system.
    """

    address: tuple[str, int]
    process_id: int

    def resident(self) -> int:
        """Give the memory that it has, in bytes; only Linux tells."""
        pages = int(Path(f"/proc/{self.process_id}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def serving(database: str) -> Iterator[ServerProcess]:
    """Run one worker of the server on the database."""
    with listening_socket() as listener:
        process = multiprocessing.get_context("spawn").Process(
            target=_serve, args=(listener, database), daemon=True
        )
        process.start()
        try:
            yield ServerProcess(listener.getsockname(), process.pid or 0)
        finally:
            process.terminate()
            process.join()


def _serve(listener: socket.socket, database: str) -> None:
    async def constant() -> dict[str, str]:
        return {"id": "sesh_AAAAAAAAAAAAAAAAAAAAAAAA"}

    application = create_application(ServerSettings(database=database))
    # First: the pages at the end of the routes take whatever is left.
    served, application.router.routes[:] = application.router.routes[:], []
    application.add_api_route(CONSTANT_PATH, constant, methods=["POST"], status_code=201)
    application.router.routes += served
    search_less()
    make_server(application, grace=1).run(sockets=[listener])
