"""Scopes: from where to where a session is the current one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hl_sessions.context import enter_session, innermost_session, not_left, strays
from hl_sessions.conversation import ConversationSession, ConversationSource

if TYPE_CHECKING:
    from types import TracebackType

    from hl_sessions.session import Session

__all__ = ["Scope", "open_session"]


def _is_joined(session: Session, key: str | None) -> bool:
    if key is None:
        return True
    return isinstance(session, ConversationSession) and session.key == key and not session._ended


def open_session(
    manager: ConversationSource, key: str | None = None, *, new: bool = False
) -> tuple[Session, bool]:
    """Give the session of a scope that is entered here, and whether it is the surrounding one.

    Touches neither the network nor the store.

    Args:
        manager: the manager of the scope.
        key: the conversation key as :func:`~hl_sessions.conversation.checked_key` gives it.
        new: never the surrounding one.
    """
    outer = innermost_session()
    if strays:
        outer = not_left(outer)
    surrounding = outer
    while surrounding is not None and surrounding.manager is not manager:
        surrounding = surrounding._outer
    if surrounding is not None and not new and _is_joined(surrounding, key):
        return surrounding, True
    session = manager.new_session() if key is None else ConversationSession(manager, key)
    if outer is not None and outer is surrounding:
        # The new session hides the one it is in; linking it would keep a chain of scopes alive for ever.
        outer = outer._outer
    if outer is not None:
        session._outer = outer
    return session, False


class Scope:
    """What ``manager.session()`` gives: ``with`` and ``async with`` enter it, as often as you like.

    No token of the context variable is kept: a generator that holds a scope may be closed in another
    context than it was started in, and scopes of interleaved generators are not left in reverse order.
    """

    __slots__ = ("_entries", "_key", "_manager", "_new")

    def __init__(self, manager: ConversationSource, key: str | None, *, new: bool) -> None:
        self._manager = manager
        self._key = key
        self._new = new
        self._entries: list[tuple[Session, Session | None, bool]] = []

    def __enter__(self) -> Session:
        previous = innermost_session()
        session, is_joined = open_session(self._manager, self._key, new=self._new)
        enter_session(session)
        self._entries.append((session, previous, is_joined))
        return session

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        current = innermost_session()
        entry = next((entry for entry in reversed(self._entries) if entry[0] is current), self._entries[-1])
        self._entries.remove(entry)
        session, previous, is_joined = entry
        if session is current:
            enter_session(not_left(previous))
        if is_joined:
            return
        if session is not current or exc_type is GeneratorExit:
            # This context may be another one than was entered, also a copy of it.
            session._left_for = not_left(previous)
            strays[:] = [True]
        session._leave()

    async def __aenter__(self) -> Session:
        return self.__enter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(exc_type, exc_value, traceback)
