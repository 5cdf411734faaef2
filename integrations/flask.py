"""A session for each request of a Flask application.

.. code-block:: python

    app = Flask(__name__)
    HLSessions(app)

The argument of functions for ``key`` and ``trust`` is the ``flask.Request``.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hl_sessions.errors import ConfigurationError
from hl_sessions.integrations import wsgi
from hl_sessions.integrations.wsgi import (
    REQUEST,
    SignedCookie,
    baggage,
    first,
    header,
    json_field,
    path_param,
    query,
    session_of,
)
from hl_sessions.manager import SessionManager, checked_manager

try:
    import flask  # noqa: TC002 - so that its absence gets a clear message
    from werkzeug.exceptions import HTTPException
except ImportError as error:
    raise ImportError(
        "hl_sessions.integrations.flask needs Flask: pip install 'hl-sessions[flask]'"
    ) from error

if TYPE_CHECKING:
    from collections.abc import MutableMapping, Sequence

    from hl_sessions.integrations.incoming import Key, Trust

__all__ = [
    "HLSessions",
    "SignedCookie",
    "baggage",
    "first",
    "header",
    "json_field",
    "path_param",
    "query",
    "session_of",
]

_PREFIX = "HL_SESSIONS_"
_MANAGER_SETTINGS = frozenset(
    {
        "base_url",
        "api_key",
        "store",
        "idle_timeout",
        "on_error",
        "prefetch",
        "timeout",
        "retries",
        "project",
        "queue_size",
        "spool",
        "sample",
        "redact",
        "on_created",
        "session_fields",
    }
)
_MIDDLEWARE_SETTINGS = frozenset({"key", "cookie", "response_header", "trust", "via_proxies"})


class HLSessions:
    """The Flask extension: each request is the scope of a session, its streamed body included.

    The settings in ``app.config`` are named like the arguments of :class:`~hl_sessions.SessionManager` and of
    the middleware: ``HL_SESSIONS_BASE_URL``, ``HL_SESSIONS_API_KEY``, ``HL_SESSIONS_STORE``,
    ``HL_SESSIONS_IDLE_TIMEOUT``, ``HL_SESSIONS_ON_ERROR``, ``HL_SESSIONS_PREFETCH``,
    ``HL_SESSIONS_TIMEOUT``, ``HL_SESSIONS_RETRIES``, ``HL_SESSIONS_PROJECT``, ``HL_SESSIONS_QUEUE_SIZE``,
    ``HL_SESSIONS_SPOOL``, ``HL_SESSIONS_SAMPLE``, ``HL_SESSIONS_REDACT``, ``HL_SESSIONS_ON_CREATED``,
    ``HL_SESSIONS_SESSION_FIELDS``; ``HL_SESSIONS_KEY``, ``HL_SESSIONS_COOKIE``,
    ``HL_SESSIONS_RESPONSE_HEADER``, ``HL_SESSIONS_TRUST``, ``HL_SESSIONS_VIA_PROXIES``. With any setting of a
    manager, the application has its own manager. A setting takes precedence over the argument.

    Args:
        app: the application. ``None``: call :meth:`init_app` later, for one or several applications.
        manager: opens the sessions. ``None``: the one of the settings, else that of
            :func:`hl_sessions.configure`.
        key: for ``key``, ``cookie``, ``response_header``, ``trust`` and ``via_proxies`` see
            :class:`~hl_sessions.integrations.middleware.MiddlewareBase`.

    Raises:
        ConfigurationError: an option or setting is wrong, as in :meth:`init_app`.
    """

    def __init__(
        self,
        app: flask.Flask | None = None,
        manager: SessionManager | None = None,
        *,
        key: Key | None = None,
        cookie: SignedCookie | None = None,
        response_header: str | None = None,
        trust: Trust | None = None,
        via_proxies: Sequence[str] | None = None,
    ) -> None:
        self._manager = checked_manager(manager)
        self._options = {
            "key": key,
            "cookie": cookie,
            "response_header": response_header,
            "trust": trust,
            "via_proxies": via_proxies,
        }
        if app is not None:
            self.init_app(app)

    def init_app(self, app: flask.Flask) -> None:
        """Wrap ``app.wsgi_app``.

        Raises:
            ConfigurationError: a setting is unknown or wrong, or there are settings of a manager though a
                manager was given.
        """
        settings = {
            name.removeprefix(_PREFIX).lower(): value
            for name, value in app.config.items()
            if name.startswith(_PREFIX) and value is not None
        }
        unknown = settings.keys() - _MANAGER_SETTINGS - _MIDDLEWARE_SETTINGS
        if unknown:
            known = ", ".join(
                sorted(_PREFIX + name.upper() for name in _MANAGER_SETTINGS | _MIDDLEWARE_SETTINGS)
            )
            names = ", ".join(sorted(_PREFIX + name.upper() for name in unknown))
            raise ConfigurationError(f"unknown setting {names} in app.config; there are {known}")
        of_manager: dict[str, Any] = {name: settings[name] for name in _MANAGER_SETTINGS & settings.keys()}
        if of_manager and self._manager is not None:
            names = ", ".join(sorted(_PREFIX + name.upper() for name in of_manager))
            raise ConfigurationError(f"a manager was given, and {names} in app.config: use one of the two")
        try:
            middleware = _Middleware(
                app,
                SessionManager(**of_manager) if of_manager else self._manager,
                **{name: settings.get(name, option) for name, option in self._options.items()},
            )
        except ConfigurationError as error:
            # The message begins with the name of an argument.
            message = str(error)
            for name in settings:
                if re.match(rf"{name}\b", message):
                    message = _PREFIX + name.upper() + message[len(name) :]
            raise ConfigurationError(message) from None
        app.wsgi_app = middleware  # type: ignore[method-assign]
        app.extensions["hl_sessions"] = self


class _Middleware(wsgi.HLSessionMiddleware):
    def __init__(self, app: flask.Flask, manager: SessionManager | None, **options: Any) -> None:
        super().__init__(app.wsgi_app, manager, **options)
        self._flask = app

    def _native_request(self, environ: MutableMapping[str, Any]) -> flask.Request:
        request: flask.Request | None = environ.get(REQUEST)
        if request is not None:
            return request
        request = self._flask.request_class({**environ})
        if REQUEST in environ:
            # Flask takes its own out when the view has returned; a stream may need the route only now.
            with suppress(HTTPException):
                adapter = self._flask.create_url_adapter(request)
                if adapter is not None:
                    request.url_rule, parameters = adapter.match(return_rule=True)
                    request.view_args = {**parameters}
        return request
