"""Limits the size of each request body, and of all together, regardless of their headers."""

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hl_sessions.server.http.rejections import rejection, too_long, unavailable

_STATE: Final = "body"


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
    """Reads bodies before the application does. Answers 413 to a long body, and 503 when too many arrive.

    Args:
        app: The ASGI application, which gets the whole body in one message.
        max_body: The longest body that is read, in bytes.
        memory: Counts the bodies of all requests.
        below: The path that the limit applies to, with all paths below it. Other requests are passed on.
    """

    def __init__(self, app: ASGIApp, max_body: int, memory: BodyMemory, below: str = "") -> None:
        self._app = app
        self._max_body = max_body
        self._memory = memory
        self._below = f"{below}/"

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
        # A body with a Content-Length over the limit is not read at all.
        is_too_long = _announced_length(scope) > self._max_body
        more_body = not is_too_long
        while more_body:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            part = message.get("body", b"")
            body += part
            if not self._memory.take(len(part)):
                await unavailable("Too many bodies arrive at once; nothing was stored")(scope, receive, send)
                return
            is_too_long = len(body) > self._max_body
            more_body = message.get("more_body", False) and not is_too_long
        if is_too_long:
            await rejection(413, too_long(self._max_body))(scope, receive, send)
            return

        was_received = False

        async def receive_whole() -> Message:
            nonlocal was_received
            if was_received:
                return await receive()
            was_received = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        await self._app(scope, receive_whole, send)


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
