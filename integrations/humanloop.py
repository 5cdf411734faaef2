"""The current session in the calls of the vendor's SDK, ``humanloop`` 0.4 to 0.7.

.. code-block:: python

    client = instrument(Humanloop(host="http://127.0.0.1:8642/v4", api_key="..."))
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from hl_sessions.datapoints.recorder import open_datapoint
from hl_sessions.errors import ConfigurationError
from hl_sessions.process.saying import say
from hl_sessions.process.seldom import Seldom
from hl_sessions.sessions.current import current_session

try:
    from humanloop import Humanloop, OpenApiException  # 0.8 lacks OpenApiException, and has no sessions
except ImportError as error:
    raise ImportError(
        "hl_sessions.integrations.humanloop needs humanloop 0.4 to 0.7: pip install 'hl-sessions[humanloop]'"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from hl_sessions.process.outcome import Outcome
    from hl_sessions.sessions.session import Session

__all__ = ["instrument", "uninstrument"]

Client = TypeVar("Client", bound=Humanloop)

_SESSION = ("session_id", "session_reference_id")
_PARENT = ("parent_id", "parent_reference_id")
_REFUSED = 422

_warnings = Seldom()


def instrument(client: Client) -> Client:
    """Let the calls of ``client`` that log a datapoint name the current session.

    These calls are ``log``, ``chat`` and ``complete`` with all their kinds: async, deployed, streaming, by a
    model configuration or an experiment. Such a call reads the ID like ``session.log_params()``, or like
    ``await session.alog_params()``. An open datapoint of the session becomes the parent, and is sent first.
    A session or a parent that the caller names stays. Outside every scope nothing is added. If the API
    refuses the added session or parent, the call is sent again without it. A second ``instrument`` changes
    nothing.

    Args:
        client: a ``Humanloop`` client whose ``host`` is the API in which the sessions are created.

    Returns:
        ``client``.

    Raises:
        ConfigurationError: ``client`` is not a client of ``humanloop`` 0.4 to 0.7.
    """
    for api, name, is_async in _sending_methods(client):
        send = getattr(api, name)
        if not isinstance(send, (_Sending, _AsyncSending)):
            setattr(api, name, _AsyncSending(send) if is_async else _Sending(send))
    return client


def uninstrument(client: Client) -> Client:
    """Undo :func:`instrument`.

    Args:
        client: the client.

    Returns:
        ``client``.

    Raises:
        ConfigurationError: ``client`` is not a client of ``humanloop`` 0.4 to 0.7.
    """
    for api, name, _ in _sending_methods(client):
        sending = vars(api).get(name)
        if isinstance(sending, (_Sending, _AsyncSending)):
            delattr(api, name)
            if getattr(api, name) != sending.send:  # other code had set a method on the object, too
                setattr(api, name, sending.send)
    return client


def _sending_methods(client: object) -> Iterator[tuple[Any, str, bool]]:
    """Find the methods that send a body which may name a session.

    All public methods, of which there are four times as many, call these.

    Yields:
        The object, the name of the method, and whether it is async.
    """
    if not isinstance(client, Humanloop):
        raise ConfigurationError(
            f"client must be a client of humanloop 0.4 to 0.7, not {type(client).__name__}:"
            " instrument(Humanloop(...))"
        )
    for api in list(vars(client).values()):
        for sender in (api, getattr(api, "raw", None)):  # raw is in 0.7
            for name in dir(sender):
                operation = name.removesuffix("_mapped_args").removeprefix("_")
                if (
                    name == f"_{operation}_mapped_args"
                    and _SESSION[0] in inspect.signature(getattr(sender, name)).parameters
                ):
                    yield sender, f"_{operation}_oapg", False
                    yield sender, f"_a{operation}_oapg", True


class _Sending:
    """Sends requests with the session of the caller.

    Args:
        send: sends requests unchanged.
    """

    def __init__(self, send: Callable[..., Any]) -> None:
        self.send = send

    def __call__(self, *, body: Any, **options: Any) -> Any:
        session = current_session()
        if session is None:
            return self.send(body=body, **options)
        call = _Call(body, session)
        if call.needs_session:
            call.add_session(session.log_params())
        sent = call.add_parent()
        if sent is not None:
            sent.wait(session.manager.deadline().remaining())
        return self._send(call, options)

    def _send(self, call: _Call, options: dict[str, Any]) -> Any:
        try:
            return self.send(body=call.body(), **options)
        except OpenApiException as error:
            if not call.take_back(error):
                raise
        return self._send(call, options)


class _AsyncSending:
    """Sends requests with the session of the caller, while the event loop keeps running."""

    def __init__(self, send: Callable[..., Awaitable[Any]]) -> None:
        self.send = send

    async def __call__(self, *, body: Any, **options: Any) -> Any:
        session = current_session()
        if session is None:
            return await self.send(body=body, **options)
        call = _Call(body, session)
        if call.needs_session:
            call.add_session(await session.alog_params())
        sent = call.add_parent()
        if sent is not None:
            await sent.wait_in_task(session.manager.deadline().remaining())
        return await self._send(call, options)

    async def _send(self, call: _Call, options: dict[str, Any]) -> Any:
        try:
            return await self.send(body=call.body(), **options)
        except OpenApiException as error:
            if not call.take_back(error):
                raise
        return await self._send(call, options)


class _Call:
    """The body of one call: the fields of the caller, and the added ones.

    Args:
        body: the fields of a datapoint, or a list of them.
        session: the session of the caller.
    """

    def __init__(self, body: Any, session: Session) -> None:
        self._is_list = isinstance(body, (list, tuple))
        self._given: Sequence[Any] = body if self._is_list else [body]
        self._added: list[dict[str, str]] = [{} for _ in self._given]
        self._session = session
        self.needs_session = any(_lacks(given, _SESSION) for given in self._given)

    def body(self) -> Any:
        """Return the body to send."""
        bodies = [
            {**given, **added} if added else given
            for given, added in zip(self._given, self._added, strict=True)
        ]
        return bodies if self._is_list else bodies[0]

    def add_session(self, params: dict[str, str]) -> None:
        """Add the session to datapoints that name none."""
        for given, added in zip(self._given, self._added, strict=True):
            if _lacks(given, _SESSION):
                added.update(params)

    def add_parent(self) -> Outcome[None] | None:
        """Add the parent to datapoints that name none; return the outcome of its sending, if it is unsent."""
        datapoint = open_datapoint(self._session)
        parent = self._session._nested_under if datapoint is None else datapoint._reference_id
        if parent is None:
            return None
        own, is_added = self._session.peek(), False
        for given, added in zip(self._given, self._added, strict=True):
            # The parent must be in the same session.
            if _lacks(given, _PARENT) and (added or (own is not None and given.get(_SESSION[0]) == own)):
                added[_PARENT[1]] = parent
                is_added = True
        return datapoint._recorder.hurry() if datapoint is not None and is_added else None

    def take_back(self, error: OpenApiException) -> bool:
        """Remove the added fields that the API has refused; return whether there were any.

        The API may not have kept the parent, or the parent that the caller names may be in another session.
        """
        if getattr(error, "status", None) != _REFUSED:
            return False
        refused = str(getattr(error, "body", None))
        for what, names in (("parent", _PARENT), ("session", _PARENT + _SESSION)):
            if any(name in refused for name in names) and self._remove(names):
                if _warnings.is_due(what):
                    say(
                        logging.WARNING,
                        "the API refuses the %s that was added to a call of the humanloop client; the call is"
                        " made again without it",
                        what,
                    )
                return True
        return False

    def _remove(self, names: tuple[str, ...]) -> bool:
        """Remove the added fields of these names; return whether there were any."""
        kept = [{name: value for name, value in added.items() if name not in names} for added in self._added]
        is_any = kept != self._added
        self._added = kept
        return is_any


def _lacks(fields: Any, names: tuple[str, ...]) -> bool:
    return isinstance(fields, Mapping) and all(fields.get(name) is None for name in names)
