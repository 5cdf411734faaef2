"""A request, whichever gateway it came through."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping, Sequence

__all__ = ["SESSION", "FrameworkRequest", "Request"]

#: The key of the session in what a gateway says of a request.
SESSION = "hl_sessions.session"


class Request(ABC):
    """A request, as its gateway has it.

    Args:
        scope: what the gateway says of it.
        make_native: makes the request object of the framework.
        body: its body, if that was read.
    """

    #: What its gateway calls the scheme by which it came.
    SCHEME: ClassVar[str]
    #: Whether what runs before the application can await.
    CAN_AWAIT: ClassVar[bool] = False

    @staticmethod
    def field(name: str) -> Any:
        """Return what its gateway calls a header."""
        return name

    @staticmethod
    @abstractmethod
    def headers_in(scope: MutableMapping[str, Any], fields: Sequence[Any]) -> MutableMapping[str, Any]:
        """Return a scope for :meth:`headers`, and maybe nothing else, that does not hold the session.

        Args:
            scope: what the gateway says of the request.
            fields: what the gateway calls the headers that are asked for later.
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
        """The request object of the framework, which functions of the user are given."""
        return self._make_native(self._scope)

    @property
    def body(self) -> bytes:
        """Its body, if that was read."""
        return self._body

    def json(self, max_body: int) -> object:
        """Return what its body says, ``None`` if that is no JSON, or longer than so many bytes."""
        return self._json if len(self.body) <= max_body else None

    @cached_property
    def _json(self) -> object:
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    def is_json(self) -> bool:
        """Whether it says that its body is JSON."""
        media_type = self.content_type.partition(";")[0].strip().lower()
        return media_type == "application/json" or media_type.endswith("+json")

    @property
    def content_type(self) -> str:
        """What it says its body is, empty if nothing."""
        return ",".join(self.headers("Content-Type"))

    @property
    def host(self) -> str:
        """The host that it is addressed to, empty if it names none, or several."""
        hosts = self.headers("Host")
        return hosts[0] if len(hosts) == 1 else ""

    @property
    @abstractmethod
    def peer(self) -> str:
        """The address that it comes from, empty if that is unknown."""

    @property
    @abstractmethod
    def query_string(self) -> bytes:
        """What follows the ``?``."""

    @abstractmethod
    def header_names(self) -> set[str]:
        """The names of all headers, in lower case."""

    @abstractmethod
    def headers(self, name: str) -> list[str]:
        """The values of a header."""

    @abstractmethod
    def path_param(self, name: str) -> object:
        """A parameter of the route, once the application has found the route."""


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
