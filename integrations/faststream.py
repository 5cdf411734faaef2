"""The session of the publisher of a message, in the FastStream subscriber that handles it.

.. code-block:: python

    broker = RedisBroker("redis://localhost", middlewares=[SessionMiddleware()])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from hl_sessions.carrying.message import acarry, carried
from hl_sessions.integrations.carried_fields import as_fields, from_fields
from hl_sessions.manager import checked_manager

try:
    from faststream import BaseMiddleware
except ImportError as error:
    raise ImportError(
        "hl_sessions.integrations.faststream needs FastStream: pip install 'hl-sessions[faststream]'"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from faststream import ContextRepo, PublishCommand, StreamMessage

    from hl_sessions.manager import SessionManager

__all__ = ["SessionMiddleware"]


class SessionMiddleware:
    """Let each message be handled in the session of its publisher; messages of its handler have it, too.

    Add it to the ``middlewares`` of any broker or router, where messages are published and where they are
    handled. Publishing in a scope reads the ID like ``await session.aid()``. If the session cannot be
    created, the message is published anyway. A message that is published outside every scope has no session;
    neither has a batch of messages from several sessions. The headers of a message hold its session, under
    names that begin with ``hl_sessions_``.

    Args:
        manager: the manager of the sessions in handlers. ``None``: the one of :func:`hl_sessions.configure`.

    Raises:
        ConfigurationError: ``manager`` is not a manager.
    """

    def __init__(self, manager: SessionManager | None = None) -> None:
        self._manager = checked_manager(manager)

    def __call__(self, msg: Any, /, *, context: ContextRepo) -> BaseMiddleware[Any, Any]:
        """Return the middleware of one message."""
        return _MessageMiddleware(msg, context=context, manager=self._manager)


class _MessageMiddleware(BaseMiddleware[Any, Any]):
    def __init__(self, msg: Any, /, *, context: ContextRepo, manager: SessionManager | None) -> None:
        super().__init__(msg, context=context)
        self._manager = manager
        self._received: dict[str, str] = {}

    async def consume_scope(
        self, call_next: Callable[[StreamMessage[Any]], Awaitable[Any]], msg: StreamMessage[Any]
    ) -> Any:
        data, *others = map(_from_headers, msg.batch_headers or [msg.headers])
        common = {
            name: value for name, value in data.items() if all(each.get(name) == value for each in others)
        }
        async with carried(common, self._manager) as session:
            self._received = {} if session is None else common
            return await call_next(msg)

    async def publish_scope(
        self, call_next: Callable[[PublishCommand], Awaitable[Any]], cmd: PublishCommand
    ) -> Any:
        # The result of a handler is published after its scope was left, by the middleware of its message.
        if data := await acarry() if self.msg is None else self._received:
            cmd.headers = {**cmd.headers, **_as_headers(data)}
        return await call_next(cmd)


def _as_headers(data: Mapping[str, str]) -> dict[str, str]:
    # FastStream cannot read a message in Redis whose headers have other characters than ASCII's (0.7.8).
    return as_fields({name: quote(value) for name, value in data.items()})


def _from_headers(headers: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: unquote(value) if isinstance(value, str) else value
        for name, value in from_fields(headers).items()
    }
