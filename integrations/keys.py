"""Ready-made conversation keys, for the option ``key`` of the middlewares.

.. code-block:: python

    app = HLSessionMiddleware(app, key=header("X-Chat-ID"))
"""

from __future__ import annotations

import sys
import uuid
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from hl_sessions.carrying.headers import BAGGAGE_HEADER, baggage_value
from hl_sessions.conversations.key import checked_key
from hl_sessions.errors import ConfigurationError
from hl_sessions.process.checks import checked_count, checked_header_name, checked_token

if TYPE_CHECKING:
    from collections.abc import Callable

    from hl_sessions.integrations.gateway import Request

__all__ = [
    "RequestKey",
    "baggage",
    "django_path_param",
    "first",
    "header",
    "json_field",
    "path_param",
    "query",
]

MAX_BODY = 1_048_576  # bytes
MAX_QUERY_FIELDS = 1_000


class RequestKey:
    """The place of the conversation key in a request.

    A missing or malformed key counts as none, as it comes from outside.
    """

    def __init__(
        self,
        text: str,
        find: Callable[[Request], object],
        *,
        max_body: int = 0,
        needs_route: bool = False,
    ) -> None:
        self._text = text
        self._find = find
        #: The longest JSON body that it needs, in bytes; 0: it needs no body.
        self.max_body = max_body
        #: Whether the key is known only after the application has found the route.
        self.needs_route = needs_route

    def __repr__(self) -> str:
        return self._text

    def find(self, request: Request) -> str | None:
        """Return the conversation key, ``None`` if there is none."""
        key = self._find(request)
        try:
            return None if key is None else checked_key(key)
        except (TypeError, ValueError):
            return None


def header(name: str) -> RequestKey:
    """Take the conversation key from a header.

    A header that occurs several times, or has several values, counts as none.

    Raises:
        ConfigurationError: ``name`` is not the name of a header.
    """
    checked_header_name("name", name)

    def find(request: Request) -> str | None:
        values = request.headers(name)
        # Some servers join several headers into one, with commas.
        return values[0].strip() if len(values) == 1 and "," not in values[0] else None

    return RequestKey(f"header({name!r})", find)


def baggage(name: str) -> RequestKey:
    """Take the conversation key from a member of the W3C ``baggage`` header, percent-decoded.

    The properties of the member are ignored. Several members with different values count as none.

    .. code-block:: python

        app = HLSessionMiddleware(app, key=baggage("gen_ai.conversation.id"))

    Raises:
        ConfigurationError: ``name`` is not the name of a member.
    """
    checked_token("name", name, "a member of baggage, like 'gen_ai.conversation.id'")

    def find(request: Request) -> str | None:
        try:
            return baggage_value(request.headers(BAGGAGE_HEADER), name)
        except ValueError:
            return None

    return RequestKey(f"baggage({name!r})", find)


def query(name: str) -> RequestKey:
    """Take the conversation key from the query of the URL; several values count as none.

    Raises:
        ConfigurationError: ``name`` is not a string, or empty.
    """
    field = _checked_name(name).encode()

    def find(request: Request) -> str | None:
        try:
            values = _fields(request).get(field, [])
            return values[0].decode() if len(values) == 1 else None
        except ValueError:
            return None

    return RequestKey(f"query({name!r})", find)


def path_param(name: str) -> RequestKey:
    """Take the conversation key from a parameter of the route, in Starlette, FastAPI, Flask or Django.

    The parameter is known after the framework has found the route: read the session in the endpoint.

    Raises:
        ConfigurationError: ``name`` is not a string, or empty.
    """
    _checked_name(name)

    def find(request: Request) -> object:
        value = request.path_param(name)
        return value if value is None or isinstance(value, (str, int, uuid.UUID)) else str(value)

    return RequestKey(f"path_param({name!r})", find, needs_route=True)


def json_field(name: str, *, max_body: int = MAX_BODY) -> RequestKey:
    """Take the conversation key from a field of a JSON body, a string or a whole number.

    The body is read before the application runs. The application can still read it.

    .. code-block:: python

        app = HLSessionMiddleware(app, key=json_field("params.message.contextId"))

    Args:
        name: the name of a field of the outermost object. If that has no such field: a path of field names
            through nested objects, with dots between them.
        max_body: the longest body to read, in bytes. A longer one counts as none.

    Raises:
        ConfigurationError: ``name`` is not a string, or empty, or ``max_body`` not a whole number from 1.
    """
    _checked_name(name)
    checked_count("max_body", max_body, minimum=1)

    def find(request: Request) -> object:
        return _field(request.json(max_body), name)

    return RequestKey(f"json_field({name!r})", find, max_body=max_body)


def first(*keys: RequestKey) -> RequestKey:
    """Take the conversation key from the first of several places that has a key.

    .. code-block:: python

        app = HLSessionMiddleware(app, key=first(header("X-Chat-ID"), json_field("chat")))

    Raises:
        ConfigurationError: there are no ``keys``, or one of them is of another type, such as a function.
    """
    if not keys:
        raise ConfigurationError("first() needs keys, like first(header('X-Chat-ID'), json_field('chat'))")
    for key in keys:
        if not isinstance(key, RequestKey):
            raise ConfigurationError(
                f"first() takes header(...) and the like, not {type(key).__name__}; one function can look"
                " at several places"
            )

    def find(request: Request) -> str | None:
        return next((found for key in keys if (found := key.find(request)) is not None), None)

    return RequestKey(
        f"first({', '.join(map(repr, keys))})",
        find,
        max_body=max(key.max_body for key in keys),
        needs_route=any(key.needs_route for key in keys),
    )


def django_path_param(path: str, name: str) -> object:
    """Return a parameter of the route that Django finds for a path, ``None`` outside of Django."""
    if "django.urls" not in sys.modules:
        return None
    from django.conf import settings  # type: ignore[import-untyped]
    from django.http import Http404  # type: ignore[import-untyped]
    from django.urls import resolve  # type: ignore[import-untyped]

    if not settings.configured or not hasattr(
        settings, "ROOT_URLCONF"
    ):  # Django may be used only for its models
        return None
    try:
        return resolve(path).kwargs.get(name)
    except Http404:
        return None


def _field(body: object, name: str) -> object:
    if isinstance(body, dict) and name in body:
        return body[name]
    for part in name.split("."):
        if not isinstance(body, dict):
            return None
        body = body.get(part)
    return body


def _fields(request: Request) -> dict[bytes, list[bytes]]:
    return parse_qs(request.query_string, keep_blank_values=True, max_num_fields=MAX_QUERY_FIELDS)


def _checked_name(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise ConfigurationError(f"name={name!r} must be a str that is not empty")
    return name
