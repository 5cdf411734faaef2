"""A session for each message of a WebSocket connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from hl_sessions.conversations.session import RequestSession
from hl_sessions.errors import HLSessionsError
from hl_sessions.scopes.scope import open_session
from hl_sessions.sessions.current import current_session, enter_session
from hl_sessions.sessions.opened import note_scope, scope_observers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from hl_sessions.manager import SessionManager
    from hl_sessions.sessions.session import Session

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]

__all__ = ["MessageScopes"]


class MessageScopes:
    """Makes each received message the scope of a session, which lasts until the next ``receive()``.

    The application awaits :meth:`receive` in its own task, so a session that is entered there is current for
    the application. A scope that the application has opened around ``receive()`` stays.

    Args:
        connection: the session of the connection, which is current between messages. Messages belong to its
            conversation, or to this session itself if a trusted caller has named it.
        manager: opens the sessions.
        receive: receives messages from the client.
        eager: create each session before the message is passed on.
    """

    def __init__(
        self, connection: Session, manager: SessionManager, receive: Receive, *, eager: bool
    ) -> None:
        self._connection = connection
        self._manager = manager
        self._receive = receive
        self._eager = eager
        # A task that was started for a message may call receive, too, in the session of that message.
        self._sessions: WeakSet[Session] = WeakSet([connection])
        self._opened: Session | None = None
        self._kept: Message | None = None

    async def receive(self) -> Message:
        """Receive the next event; if it is a message, enter its session."""
        if current_session() not in self._sessions:
            return await self._next()
        self.leave()
        enter_session(self._connection)
        message = await self._next()
        if message["type"] == "websocket.receive":
            session = self._session()
            if self._eager:
                await self._create(session, message)
            enter_session(session)
        return message

    def leave(self) -> None:
        """Leave the scope of the last message."""
        session, self._opened = self._opened, None
        if session is not None:
            session._leave()

    async def _next(self) -> Message:
        message, self._kept = self._kept, None
        return await self._receive() if message is None else message

    def _session(self) -> Session:
        connection = self._connection
        if isinstance(connection, RequestSession) and connection._named_id() is not None:
            return connection
        session, _ = open_session(self._manager, connection.key, new=True)
        if scope_observers:
            note_scope(session)
        self._sessions.add(session)
        self._opened = session
        return session

    async def _create(self, session: Session, message: Message) -> None:
        try:
            await session.aid()
        except HLSessionsError:
            pass  # the application gets the error when it reads
        except BaseException:
            self._kept = message  # for the next call, as the application gave up waiting
            raise
