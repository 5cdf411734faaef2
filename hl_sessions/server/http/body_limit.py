"""Limits the size of each request body, and of all together, regardless of their headers."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from fastapi.exception_handlers import http_exception_handler
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hl_sessions.server.http.rejections import no_room, too_long

_STATE: Final = "body"

_Answer: TypeAlias = Callable[[Request, HTTPException], Awaitable[Response]]


class BodyMemory:
    """Counts the bytes of all bodies that are held at the same time.

    Args:
        most: The limit, in bytes.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0

    def take(self, count: int) -> bool:
        """Count bytes that have arrived, and tell whether there was room for them."""
        self._held += count
        return self._held <= self._most

    def give_back(self, count: int) -> None:
        """Count bytes that have been released."""
        self._held -= count


class BodyLimitMiddleware:
    """Reads bodies before the application does. Refuses a long body (413), and one too many (503).

    Args:
        app: The ASGI application, which gets the whole body in one message.
        max_body: The longest body that is read, in bytes.
        memory: Counts the bodies of all requests.
        below: The path that the limit applies to, with all paths below it. Other requests are passed on.
        answer: Makes the answer to a body that is refused.
    """

    def __init__(
        self,
        app: ASGIApp,
        max_body: int,
        memory: BodyMemory,
        below: str = "",
        answer: _Answer = http_exception_handler,
    ) -> None:
        self._app = app
        self._max_body = max_body
        self._memory = memory
        self._below = f"{below}/"
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on with its whole body, or refuse it."""
        if scope["type"] != "http" or not f"{scope['path']}/".startswith(self._below):
            await self._app(scope, receive, send)
            return
        body = bytearray()
        scope.setdefault("state", {})[_STATE] = body
        try:
            await self._pass_on(body, scope, receive, send)
        finally:
            self._memory.give_back(len(body))
            # The server keeps the scope until the next request of the connection.
            del scope["state"][_STATE]

    async def _pass_on(self, body: bytearray, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            is_whole = await self._read(body, scope, receive)
        except HTTPException as refusal:
            await self._refuse(refusal, scope, receive, send)
            return
        if not is_whole:
            return

        was_received = False

        async def receive_whole() -> Message:
            nonlocal was_received
            if was_received:
                return await receive()
            was_received = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        await self._app(scope, receive_whole, send)

    async def _read(self, body: bytearray, scope: Scope, receive: Receive) -> bool:
        """Collect the body, and tell whether the client has sent all of it.

        No part of it is kept beside it while the application works.

        Raises:
            HTTPException: When it is too long, or there is no room for it.
        """
        # A body with a Content-Length over the limit is not read at all.
        if _announced_length(scope) > self._max_body:
            raise too_long(self._max_body)
        more_body = True
        while more_body:
            message = await receive()
            if message["type"] == "http.disconnect":
                return False
            part = message.get("body", b"")
            body += part
            if not self._memory.take(len(part)):
                raise no_room()
            if len(body) > self._max_body:
                raise too_long(self._max_body)
            more_body = message.get("more_body", False)
        return True

    async def _refuse(self, refusal: HTTPException, scope: Scope, receive: Receive, send: Send) -> None:
        answer = await self._answer(Request(scope), refusal)
        await answer(scope, receive, send)


def body_of(scope: Scope) -> bytearray:
    """Return the whole body of a request that has passed the limit; can be called again."""
    body: bytearray = scope["state"][_STATE]
    return body


def _announced_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            # The HTTP server has already refused a value that is no number.
            return int(value)
    return 0
