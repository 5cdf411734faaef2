"""The session of the sender of a task, in the huey consumer that executes it.

.. code-block:: python

    class BotHuey(SessionHuey, RedisHuey):
        pass


    huey = BotHuey("bot")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hl_sessions.carrying.message import CARRIED, carried, carry
from hl_sessions.client.client import DEFAULT_TIMEOUT
from hl_sessions.datapoints.sender import flush_all
from hl_sessions.manager import checked_manager

try:
    from huey import Huey
except ImportError as error:
    raise ImportError("hl_sessions.integrations.huey needs huey: pip install 'hl-sessions[huey]'") from error

if TYPE_CHECKING:
    from datetime import datetime

    from huey.api import Task

    from hl_sessions.manager import SessionManager

__all__ = ["SessionHuey"]


class SessionHuey(Huey):  # type: ignore[misc]  # huey has no types
    """A huey whose tasks are executed in the session of their sender.

    Put it before another class, as in ``class BotHuey(SessionHuey, RedisHuey)``, or use it by itself with a
    ``storage_class``. Enqueuing a task in a scope reads the ID like ``session.id``. If the session cannot be
    created, the task is enqueued anyway. Retries, hooks, signals, and the tasks of pipelines, groups and
    chords have the session, too. Periodic tasks, and tasks that are enqueued outside every scope, have no
    session. The arguments in the message of a task hold its session, as ``"hl_sessions"``; the function is
    called without it.

    Args:
        manager: the manager of the sessions in consumers. ``None``: the one of :func:`hl_sessions.configure`.

    Raises:
        ConfigurationError: ``manager`` is not a manager.
    """

    def __init__(self, *args: Any, manager: SessionManager | None = None, **options: Any) -> None:
        self._manager = checked_manager(manager)
        super().__init__(*args, **options)
        self.on_shutdown(CARRIED)(_send_datapoints)

    def serialize_task(self, task: Task) -> bytes:
        """Serialize a task with the session of the caller; a task from the storage keeps its session."""
        data = vars(task).get(CARRIED)
        if data is None:
            data = carry()
        kwargs = task.kwargs
        if data:
            task.kwargs = {**kwargs, CARRIED: data}
        try:
            message: bytes = super().serialize_task(task)
        finally:
            task.kwargs = kwargs
        return message

    def deserialize_task(self, data: bytes) -> Task:
        """Deserialize a task, and keep its session beside its arguments."""
        task = super().deserialize_task(data)
        setattr(task, CARRIED, task.kwargs.pop(CARRIED, None) or {})
        return task

    def read_periodic(self, timestamp: datetime | None) -> list[Task]:
        """Read the periodic tasks that are due; they have no session, even in a consumer started in one."""
        tasks: list[Task] = super().read_periodic(timestamp)
        for task in tasks:
            setattr(task, CARRIED, {})
        return tasks

    def execute(self, task: Task, timestamp: datetime | None = None) -> Any:
        """Execute a task in its session; in immediate mode that is the session of the caller."""
        data = vars(task).get(CARRIED)
        if data is None:
            return super().execute(task, timestamp)
        with carried(data, self._manager):
            return super().execute(task, timestamp)


def _send_datapoints() -> None:
    # A consumer that restarts does not run Python's exit handlers.
    flush_all(DEFAULT_TIMEOUT)
