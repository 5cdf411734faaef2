"""The session of the right request for each call of a tool, resource or prompt of an MCP server on mcp 1.x.

.. code-block:: python

    server = FastMCP("search")
    connect(server)
    app = HLSessionMiddleware(server.streamable_http_app())
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, TypeVar

from hl_sessions.integrations.asgi import session_of
from hl_sessions.sessions.binding import unbound

try:
    from mcp.server.lowlevel import Server
except ImportError as error:
    raise ImportError("hl_sessions.integrations.mcp needs mcp: pip install 'hl-sessions[mcp]'") from error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Handler = Callable[[Any], Awaitable[Any]]

__all__ = ["connect"]

AnyServer = TypeVar("AnyServer")


def connect(server: AnyServer) -> AnyServer:
    """Let each call run in the session of the HTTP request that brought it.

    mcp 1.x, and with it fastmcp 2 and 3, serves all requests of an MCP session, and all messages of an SSE
    connection, from one task. That task keeps the session of the request that started it, and would serve
    all others in it. Code that belongs to no request has no session: the ``lifespan``, notifications, and all
    code of a server on stdio.

    mcp 2 and fastmcp 4 need no ``connect``, which changes nothing there. Neither does a second call.

    Args:
        server: a ``FastMCP``, ``MCPServer`` or low-level ``Server`` of mcp, or a ``FastMCP`` of fastmcp.

    Returns:
        The server.

    Raises:
        TypeError: ``server`` is none of these.
    """
    lowlevel: Any = server
    for name in ("_mcp_server", "_lowlevel_server"):  # of both FastMCP, and of MCPServer
        lowlevel = getattr(lowlevel, name, lowlevel)
    if not isinstance(lowlevel, Server):
        raise TypeError(f"not an MCP server of mcp or fastmcp: {server!r}")
    handlers = getattr(lowlevel, "request_handlers", None)
    if handlers is None or isinstance(handlers, _Handlers):  # mcp 2, or connected already
        return server
    changed: Any = lowlevel
    changed.request_handlers = _Handlers(lowlevel, handlers)
    changed.run = unbound(changed.run)
    return server


class _Handlers(dict[type, "Handler"]):
    """The functions that answer requests, also later ones, each in the session of its call."""

    def __init__(self, server: Any, handlers: dict[type, Handler]) -> None:
        self._server = server
        for kind, handler in handlers.items():
            self[kind] = handler

    def __setitem__(self, kind: type, handler: Handler) -> None:
        @functools.wraps(handler)
        async def answer(request: Any) -> Any:
            return await handler(request)

        @functools.wraps(handler)
        async def answer_in_its_session(request: Any) -> Any:
            try:
                origin = self._server.request_context.request
            except LookupError:  # the application itself calls the function
                origin = None
            session = None if origin is None else session_of(origin)  # on stdio there is no request
            return await (answer if session is None else session.bind(answer))(request)

        super().__setitem__(kind, answer_in_its_session)
