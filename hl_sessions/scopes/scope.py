"""Scopes, in which a session is current, and their entry and exit."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from hl_sessions.conversations.session import ConversationSession, ConversationSource
from hl_sessions.process.once import Once
from hl_sessions.process.saying import say
from hl_sessions.sessions.current import (
    current_session,
    enter_session,
    innermost_session,
    leave_session,
    not_left,
    strays,
)
from hl_sessions.sessions.opened import note_scope, scope_observers

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Token
    from types import FrameType, TracebackType

    from hl_sessions.sessions.session import Session

__all__ = ["Entered", "Scope", "open_session"]


# Packages whose frames may lie between a scope and the code that entered it.
_BETWEEN = frozenset({"hl_sessions", "contextlib"})

# The session of an entered scope, whether it is the surrounding one, and the token that restores that one.
_Entry = tuple["Session | None", bool, "Token[Session | None]"]


def _is_joined(session: Session, key: str | None, make: Callable[[], Session] | None) -> bool:
    if key is None and make is None:
        return True
    if make is not None:
        return session._decides()
    return isinstance(session, ConversationSession) and session.key == key and not session._is_over()


def open_session(
    manager: ConversationSource,
    key: str | None = None,
    *,
    new: bool = False,
    make: Callable[[], Session] | None = None,
) -> tuple[Session, bool]:
    """Return the session of a scope that is entered here, and whether it is the surrounding one.

    Touches neither the network nor the store.

    Args:
        manager: the manager of the scope.
        key: the conversation key, from :func:`~hl_sessions.conversations.key.checked_key`.
        new: never join the surrounding session.
        make: makes the session, unless the surrounding one has a key, cookie or trusted ID. ``None``: the
            session is made for ``key``.
    """
    outer = innermost_session()
    if strays:
        outer = not_left(outer)
    surrounding = outer
    while surrounding is not None and (
        surrounding.manager is not manager or (strays and hasattr(surrounding, "_left_for"))
    ):
        surrounding = surrounding._outer
    if surrounding is not None and not new and _is_joined(surrounding, key, make):
        return surrounding, True
    if make is not None:
        session = make()
    else:
        session = manager.new_session() if key is None else ConversationSession(manager, key)
    if outer is not None and outer is surrounding:
        # The new session hides the surrounding one; a link to it would keep a chain of scopes alive for ever.
        outer = outer._outer
    if outer is not None:
        session._outer = outer
    return session, False


def _put_back(token: Token[Session | None]) -> bool:
    """Restore the session before a scope, if this is the context of the entry; return whether it is."""
    try:
        leave_session(token)
    except (ValueError, RuntimeError):  # another context; RuntimeError if a thread leaves there right now
        return False
    if strays:
        enter_session(current_session())
    return True


_once = Once()


def _warn_of_no_effect() -> None:
    if not _once.is_first():
        return
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _BETWEEN:
        frame = frame.f_back
    place = "an unknown place" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"
    say(
        logging.WARNING,
        "the scope at %s was left in another context than it was entered in, so its session was never the"
        " current one: a framework ran a generator in worker threads; make it an async generator, or use a"
        " middleware (said once per process)",
        place,
    )


class Entered:
    """A context manager that can be entered many times, and restores the former session at each exit.

    A generator may leave its scope in another context than it has entered it in. Interleaved generators do
    not leave their scopes in reverse order. Several tasks may be in one scope object. So a token of the
    context variable serves only to tell whether this is the context of the entry.
    """

    __slots__ = ("_entries",)

    _entries: list[_Entry]

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            session, is_joined, token = entry = self._entries[-1]
            is_last = session is innermost_session() and _put_back(token)
        except IndexError:  # without a GIL, another thread may have left the scope meanwhile
            is_last = False
        if not is_last:
            session, is_joined, _ = entry = self._entry_left(is_closed=exc_type is GeneratorExit)
        self._entries.remove(entry)
        if session is not None and not is_joined:
            session._leave()

    def _entry_left(self, *, is_closed: bool) -> _Entry:
        """Find the entry that is left, if it is not simply the last one, and restore the former session.

        Args:
            is_closed: whether a generator is closed, which may happen in any context.
        """
        entries = self._entries.copy()  # without a GIL, other threads may enter and leave meanwhile
        entries.reverse()
        current = not_left(innermost_session())
        for entry in entries:
            if entry[0] is current and _put_back(entry[2]):
                return entry
        found = self._entry_out_of_order(entries, current)
        if found is None:  # entered in another context
            found = next((each for each in entries if each[0] is current), entries[0])
            if found[0] is not current and not is_closed:
                _warn_of_no_effect()
        session, is_joined, token = entry = found
        previous = None if token.old_value is token.MISSING else not_left(token.old_value)
        if session is current:
            enter_session(previous)  # this is a copy of the context of the entry
        if session is not None and not is_joined:
            session._left_for = previous
            strays[:] = [True]
        return entry

    def _entry_out_of_order(self, entries: list[_Entry], current: Session | None) -> _Entry | None:
        for entry in entries:
            if _put_back(entry[2]):
                if current is not entry[0]:
                    enter_session(current)  # that of a scope which was entered later, and is not left yet
                return entry
        return None

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(exc_type, exc_value, traceback)


class Scope(Entered):
    """The scope that ``manager.session()`` returns, for ``with`` and ``async with``."""

    __slots__ = ("_key", "_manager", "_new")

    def __init__(self, manager: ConversationSource, key: str | None, *, new: bool) -> None:
        self._manager = manager
        self._key = key
        self._new = new
        self._entries = []

    def __enter__(self) -> Session:
        session, is_joined = open_session(self._manager, self._key, new=self._new)
        if scope_observers and not is_joined:
            note_scope(session)
        self._entries.append((session, is_joined, enter_session(session)))
        return session

    async def __aenter__(self) -> Session:
        return self.__enter__()
