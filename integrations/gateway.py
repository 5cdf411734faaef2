"""A request of any gateway: ASGI, WSGI, or the server of a framework."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from hl_sessions.sessions.context import SESSION

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping, Sequence

__all__ = ["SESSION", "FrameworkRequest", "Request"]


class Request(ABC):
    """A request, read from the scope or environment of its gateway.

    Args:
        scope: the ASGI scope, the WSGI environment, or the like.
        make_native: makes the request object of the framework.
        body: the body, if it was read.
    """

    #: The key of the scheme in the scope.
    SCHEME: ClassVar[str]
    #: Whether the middleware can await before the application runs.
    CAN_AWAIT: ClassVar[bool] = False

    @staticmethod
    def field(name: str) -> Any:
        """Return the name of a header in the form of the gateway."""
        return name

    @staticmethod
    @abstractmethod
    def headers_in(scope: MutableMapping[str, Any], fields: Sequence[Any]) -> MutableMapping[str, Any]:
        """Return a scope that serves at least :meth:`headers`, and does not hold the session.

        Args:
            scope: the scope or environment of the request.
            fields: the names, in the gateway's form, of the headers that are needed later.
        """

    def __init__(
        self,
        scope: MutableMapping[str, Any],
        make_native: Callable[[MutableMapping[str, Any]], Any],
        body: bytes = b"",
    ) -> None:
        self._scope = scope
        self._make_native = make_native
        self._body = body

    @property
    def native(self) -> Any:
        """The request object of the framework, which is passed to functions of the user."""
        return self._make_native(self._scope)

    @property
    def body(self) -> bytes:
        """The body, if it was read."""
        return self._body

    def json(self, max_body: int) -> object:
        """Return the decoded JSON body, ``None`` if it is no JSON, or longer than ``max_body`` bytes."""
        return self._json if len(self.body) <= max_body else None

    @cached_property
    def _json(self) -> object:
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    def is_json(self) -> bool:
        """Whether the content type is JSON."""
        media_type = self.content_type.partition(";")[0].strip().lower()
        return media_type == "application/json" or media_type.endswith("+json")

    @property
    def content_type(self) -> str:
        """The header ``Content-Type``, empty if there is none."""
        return ",".join(self.headers("Content-Type"))

    @property
    def host(self) -> str:
        """The header ``Host``, empty if there is none, or more than one."""
        hosts = self.headers("Host")
        return hosts[0] if len(hosts) == 1 else ""

    @property
    @abstractmethod
    def peer(self) -> str:
        """The address of the peer, empty if that is unknown."""

    @property
    @abstractmethod
    def query_string(self) -> bytes:
        """The query of the URL, without the ``?``."""

    @abstractmethod
    def header_names(self) -> set[str]:
        """The names of all headers, in lower case."""

    @abstractmethod
    def headers(self, name: str) -> list[str]:
        """The values of a header."""

    @abstractmethod
    def path_param(self, name: str) -> object:
        """The value of a parameter of the route, after the application has found the route."""


class FrameworkRequest(Request):
    """A request of a framework with a server of its own, such as aiohttp and Sanic.

    Its scope is a dictionary of the request of the framework, its headers and its scheme.
    """

    SCHEME = "scheme"

    @staticmethod
    def headers_in(
        scope: MutableMapping[str, Any],
        fields: Sequence[str],  # noqa: ARG004 - see the base
    ) -> MutableMapping[str, Any]:
        """Return a scope without the request, which holds the session."""
        return {"headers": scope["headers"]}

    def header_names(self) -> set[str]:
        """The names of its headers, in lower case."""
        return {name.lower() for name in self._scope["headers"]}

    def headers(self, name: str) -> list[str]:
        """The values of all headers of a name."""
        values: list[str] = self._scope["headers"].getall(name, [])
        return values

    def path_param(self, name: str) -> object:
        """The value of a parameter of the route."""
        return self._scope["request"].match_info.get(name)
