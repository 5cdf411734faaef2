"""Keeps request bodies within a limit, whatever their headers say."""

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hl_sessions.server.rejections import rejection

MAX_BODY: Final = 1024 * 1024
"""The longest request body that is read, in bytes."""


class BodyLimitMiddleware:
    """Reads the body before the application does, and answers 413 once more than ``MAX_BODY`` bytes arrived.

    Args:
        app: The ASGI application, which gets the whole body in one message.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

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
            if len(body) > MAX_BODY:
                await rejection(413, f"The body is longer than {MAX_BODY} bytes")(scope, receive, send)
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
