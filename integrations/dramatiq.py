"""The session of the sender of a message, in the dramatiq worker that processes it.

.. code-block:: python

    broker = RedisBroker()
    broker.add_middleware(SessionMiddleware())  # in the module that senders and workers import
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from hl_sessions.carrying.message import CARRIED, carried, carry
from hl_sessions.manager import checked_manager

try:
    from dramatiq.middleware import Middleware
except ImportError as error:
    raise ImportError(
        "hl_sessions.integrations.dramatiq needs dramatiq: pip install 'hl-sessions[dramatiq]'"
    ) from error

if TYPE_CHECKING:
    from dramatiq.broker import Broker, MessageProxy
    from dramatiq.message import Message

    from hl_sessions.manager import SessionManager

__all__ = ["SessionMiddleware"]

#: The attribute of a message that holds its scope while it is processed.
_SCOPE = "_hl_sessions_scope"


class SessionMiddleware(Middleware):
    """Let each message be processed in the session of its sender, by sync and async actors.

    Pass it to ``broker.add_middleware``, both where messages are sent and in the workers. Sending a message
    in a scope reads the ID like ``session.id``. If the session cannot be created, the message is sent anyway.
    Retries, callbacks, and the messages of pipelines and groups have the session, too. A message that is sent
    outside every scope has no session. The ``options`` of a message hold its session, as ``"hl_sessions"``.

    Args:
        manager: the manager of the sessions in workers. ``None``: the one of :func:`hl_sessions.configure`.

    Raises:
        ConfigurationError: ``manager`` is not a manager.
    """

    def __init__(self, manager: SessionManager | None = None) -> None:
        self._manager = checked_manager(manager)
        self._thread = _Thread()

    def after_consumer_thread_boot(self, *_: object) -> None:
        """Note that this thread only passes delayed messages on."""
        self._thread.passes_on = True

    def before_enqueue(self, _broker: Broker, message: Message[Any], *_: object) -> None:
        """Add the session to the message; one that is sent again may be in another session by now."""
        if self._thread.passes_on:
            return
        if data := carry():
            message.options[CARRIED] = data
        else:
            message.options.pop(CARRIED, None)

    def before_process_message(self, _broker: Broker, message: MessageProxy) -> None:
        """Enter the session of the message."""
        scope = carried(message.options.get(CARRIED), self._manager)
        scope.__enter__()
        setattr(message, _SCOPE, scope)

    def before_ack(self, _broker: Broker, message: MessageProxy) -> None:
        """Leave the session. Retries and callbacks have been sent by now, in any order of middlewares."""
        scope = vars(message).pop(_SCOPE, None)
        if scope is not None:
            scope.__exit__(None, None, None)

    def before_nack(self, broker: Broker, message: MessageProxy) -> None:
        """Leave the session after a failure."""
        self.before_ack(broker, message)


class _Thread(threading.local):
    """Whether a thread only passes messages on."""

    passes_on = False
