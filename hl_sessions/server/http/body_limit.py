"""Keeps request bodies within a limit, whatever their headers say."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hl_sessions.server.http.rejections import rejection, too_long


class BodyLimitMiddleware:
    """Reads the body before the application does, and answers 413 once more than the limit has arrived.

    Args:
        app: The ASGI application, which gets the whole body in one message.
        max_body: The longest body that is read, in bytes.
    """

    def __init__(self, app: ASGIApp, max_body: int) -> None:
        self._app = app
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on with its whole body, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = bytearray()
        more_body = True
        while more_body:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            if len(body) > self._max_body:
                await rejection(413, too_long(self._max_body))(scope, receive, send)
                return
            more_body = message.get("more_body", False)

        whole: Message | None = {"type": "http.request", "body": bytes(body), "more_body": False}

        async def receive_whole() -> Message:
            nonlocal whole
            if whole is None:
                return await receive()
            message, whole = whole, None
            return message

        await self._app(scope, receive_whole, send)
