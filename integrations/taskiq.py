"""The session of the sender of a task, in the taskiq worker that executes it.

.. code-block:: python

    broker = ListQueueBroker("redis://localhost").with_middlewares(SessionMiddleware())
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from hl_sessions.carrying.message import CarriedScope, acarry, carried
from hl_sessions.client.client import DEFAULT_TIMEOUT
from hl_sessions.datapoints.sender import aflush_all
from hl_sessions.integrations.carried_fields import as_fields, from_fields
from hl_sessions.manager import checked_manager

try:
    from taskiq import TaskiqMiddleware
except ImportError as error:
    raise ImportError(
        "hl_sessions.integrations.taskiq needs taskiq: pip install 'hl-sessions[taskiq]'"
    ) from error

if TYPE_CHECKING:
    from taskiq import TaskiqMessage, TaskiqResult

    from hl_sessions.manager import SessionManager

__all__ = ["SessionMiddleware"]

# The scope of this task, and that of the outer task: a broker in memory may execute one task within another.
_entered: ContextVar[tuple[CarriedScope, Any] | None] = ContextVar("hl_sessions_taskiq_entered", default=None)


class SessionMiddleware(TaskiqMiddleware):
    """Let each task, and its retries, be executed in the session of its sender.

    Add it to the broker that clients and workers import. Sending a task in a scope reads the ID like
    ``await session.aid()``. If the session cannot be created, the task is sent anyway. A task that is sent
    outside every scope has no session. The labels of a task hold its session, under names that begin with
    ``hl_sessions_``.

    Args:
        manager: the manager of the sessions in workers. ``None``: the one of :func:`hl_sessions.configure`.

    Raises:
        ConfigurationError: ``manager`` is not a manager.
    """

    def __init__(self, manager: SessionManager | None = None) -> None:
        super().__init__()
        self._manager = checked_manager(manager)

    async def pre_send(self, message: TaskiqMessage) -> TaskiqMessage:
        """Add the session to the message; a retry already has that of the first attempt, or none."""
        if not from_fields(message.labels):
            message.labels.update(as_fields(await acarry()))
        return message

    def pre_execute(self, message: TaskiqMessage) -> TaskiqMessage:
        """Enter the session of the task."""
        scope = carried(from_fields(message.labels), self._manager)
        scope.__enter__()
        _entered.set((scope, _entered.get()))
        return message

    def post_execute(self, message: TaskiqMessage, result: TaskiqResult[Any]) -> None:  # noqa: ARG002 - taskiq's
        """Leave the session of the task."""
        if (entered := _entered.get()) is not None:
            scope, outer = entered
            _entered.set(outer)
            scope.__exit__(None, None, None)

    async def shutdown(self) -> None:
        """Send the datapoints of this process, as a worker ends without Python's exit handlers."""
        await aflush_all(DEFAULT_TIMEOUT)
