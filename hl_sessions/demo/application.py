"""The chat application, which uses the middleware like any Starlette application."""

import json
import unicodedata
from collections.abc import Awaitable, Callable
from typing import Final

import requests
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from hl_sessions import SessionManager, acurrent_session_id
from hl_sessions.demo.api import API
from hl_sessions.demo.bot import Bot
from hl_sessions.demo.page import page_routes
from hl_sessions.demo.session_list import SessionList
from hl_sessions.integrations.starlette import HLSessionMiddleware
from hl_sessions.server.http.access import LoopbackOnlyMiddleware
from hl_sessions.server.http.body_limit import BodyLimitMiddleware, BodyMemory
from hl_sessions.server.page.security.headers import SecurityHeadersMiddleware

MAX_MESSAGE: Final = 500
"""The longest message, in characters."""

MAX_BODY: Final = 64 * 1024
"""The longest body of a request, in bytes; no message needs as much."""


def create_chat(manager: SessionManager, api: API, pause: Callable[[], Awaitable[object]]) -> Starlette:
    """Make the ASGI application of the chat.

    Args:
        manager: Opens the sessions, and sends their datapoints.
        api: The API from which the list of sessions is read.
        pause: Awaited between two words of a reply.
    """
    bot = Bot(pause)
    session_list = SessionList(api)

    async def chat(request: Request) -> Response:
        message = _message_in(await request.body())
        if message is None:
            return _error(422, f"A message has 1 to {MAX_MESSAGE} characters of text.")
        await acurrent_session_id()  # for the header of the response: logging needs no ID at once
        return StreamingResponse(await bot.reply(message), media_type="text/plain")

    def sessions(_request: Request) -> Response:
        try:
            return JSONResponse({"page": api.page_url, "sessions": session_list.read()})
        except requests.RequestException:
            return _error(502, "The sessions API does not answer as it should.")

    return Starlette(
        routes=[
            Route("/chat", chat, methods=["POST"]),
            Route("/sessions", sessions),
            *page_routes(),
        ],
        middleware=[
            Middleware(SecurityHeadersMiddleware, images="data:"),  # the icon is in the page
            Middleware(LoopbackOnlyMiddleware),
            Middleware(BodyLimitMiddleware, max_body=MAX_BODY, memory=BodyMemory(100 * MAX_BODY)),
            Middleware(HLSessionMiddleware, manager=manager, response_header="X-Session-ID"),
        ],
    )


def _message_in(body: bytes) -> str | None:
    try:
        message = json.loads(body)["message"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not isinstance(message, str):
        return None
    message = " ".join(message.split())
    is_text = all(unicodedata.category(character) not in {"Cc", "Cs"} for character in message)
    return message if is_text and 1 <= len(message) <= MAX_MESSAGE else None


def _error(status: int, text: str) -> Response:
    return JSONResponse({"error": text}, status)
