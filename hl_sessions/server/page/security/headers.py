"""The headers that tell browsers how to treat the pages."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hl_sessions.server.page.security.local_path import STATIC


class SecurityHeadersMiddleware:
    """Adds the headers that keep foreign content and foreign frames out.

    Args:
        app: The ASGI application.
        images: The origins of images besides the page's own, as in a Content Security Policy.
    """

    def __init__(self, app: ASGIApp, images: str = "") -> None:
        self._app = app
        self._headers = {
            # Scripts, styles and data only from this origin, nothing inline, and no foreign frame around it.
            "Content-Security-Policy": (
                "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
                f" img-src 'self' {images};"
                " base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
            ),
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            # Other hosts get no referrer. With "no-referrer" the page's own forms would not send their
            # origin.
            "Referrer-Policy": "same-origin",
            "X-Content-Type-Options": "nosniff",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on, and add to the head of the response."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(self._headers)
                # Signed-in pages must not be readable from the cache after sign-out.
                is_file = scope["path"].startswith(f"{STATIC}/")
                headers["Cache-Control"] = "no-cache" if is_file else "no-store"
            await send(message)

        await self._app(scope, receive, send_with_headers)
