"""A Starlette application on uvicorn that answers a constant, and logs three datapoints at each request."""

from __future__ import annotations

import multiprocessing
from contextlib import contextmanager
from time import process_time
from typing import TYPE_CHECKING, Any

import requests
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from benchmarks.api import listening_socket
from benchmarks.loggers import REQUESTS, Ours, RequestsPost, content, sending
from benchmarks.row import OURS
from hl_sessions import SessionManager
from hl_sessions.integrations.starlette import HLSessionMiddleware

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.connection import Connection

    from starlette.requests import Request

    from benchmarks.loggers import Logger

__all__ = ["NOTHING", "OUTSIDE", "LoggingApplication", "logging_application"]

NOTHING = "without logging"
OUTSIDE = "hl-sessions outside of sessions"
DATAPOINTS = 3  # of a request
SIZE = 500  # bytes
WARM_UP = 20  # requests
PATIENCE = 120  # seconds


class LoggingApplication:
    """The application, in a process of its own.

    Attributes:
        address: host and port.
        names: the ways to log that there are.
    """

    def __init__(self, address: tuple[str, int], names: Sequence[str]) -> None:
        self.address = address
        self.names = names

    def path(self, name: str) -> str:
        """Return where each request logs in this way."""
        return f"/{self.names.index(name)}"

    def flush(self, name: str) -> None:
        """Wait until all that was logged in this way is sent."""
        self._get(f"/flush{self.path(name)}")

    def cpu_seconds(self) -> float:
        """Return what it has taken until now."""
        return float(self._get("/cpu"))

    def warm_up(self) -> None:
        """Log what makes projects, connections and threads."""
        for name in self.names:
            for _ in range(WARM_UP):
                self._get(self.path(name))

    def _get(self, path: str) -> str:
        host, port = self.address
        answer = requests.get(f"http://{host}:{port}{path}", timeout=PATIENCE)
        answer.raise_for_status()
        return answer.text


@contextmanager
def logging_application(api: str, *, has_others: bool = False) -> Iterator[LoggingApplication]:
    """Run the application.

    Args:
        api: the URL of the API to log to, without a path.
        has_others: whether there are the ways to log of others, which need an API that takes everything.
    """
    processes = multiprocessing.get_context("spawn")
    pipe, of_process = processes.Pipe()
    with listening_socket() as listener:
        process = processes.Process(
            target=_serve,
            args=(listener, of_process, api),
            kwargs={"has_others": has_others},
            daemon=True,
        )
        process.start()
        of_process.close()
        try:
            yield LoggingApplication(listener.getsockname(), pipe.recv())
        finally:
            process.kill()  # which sends nothing more
            process.join()


def _serve(listener: socket.socket, pipe: Connection, api: str, *, has_others: bool) -> None:
    manager = SessionManager(f"{api}/v4")
    loggers: dict[str, Logger | None] = {NOTHING: None, OURS: Ours(manager)}
    if has_others:
        loggers |= {OUTSIDE: loggers[OURS], REQUESTS: RequestsPost(api), **sending(api)}
    apps: dict[str, Any] = {"/cpu": Starlette(routes=[Route("/cpu", _cpu)])}
    for place, (name, logger) in enumerate(loggers.items()):
        app: Any = Starlette(
            routes=[
                Route(f"/{place}", _answering(logger, in_thread=name == REQUESTS)),
                Route(f"/flush/{place}", _flushing(logger)),
            ]
        )
        if name in {NOTHING, OURS, REQUESTS}:
            app = HLSessionMiddleware(app, manager)
        apps[f"/{place}"] = apps[f"/flush/{place}"] = app

    async def dispatch(scope: Any, receive: Any, send: Any) -> None:
        await apps[scope["path"]](scope, receive, send)

    pipe.send(list(loggers))
    # Connections stay open while others have their turn.
    config = uvicorn.Config(dispatch, lifespan="off", log_level="warning", timeout_keep_alive=PATIENCE)
    uvicorn.Server(config).run(sockets=[listener])


def _answering(logger: Logger | None, *, in_thread: bool) -> Callable[[Request], Any]:
    logged = content(SIZE)

    def answer(_: Request) -> PlainTextResponse:
        if logger is not None:
            for _number in range(DATAPOINTS):
                logger.log(logged)
        return PlainTextResponse("ok")

    async def answer_on_loop(request: Request) -> PlainTextResponse:
        return answer(request)

    return answer if in_thread else answer_on_loop


def _flushing(logger: Logger | None) -> Callable[[Request], PlainTextResponse]:
    def flush(_: Request) -> PlainTextResponse:
        if logger is not None:
            logger.flush()
        return PlainTextResponse("ok")

    return flush


async def _cpu(_: Request) -> PlainTextResponse:
    return PlainTextResponse(str(process_time()))
