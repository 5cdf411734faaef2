"""The session of the sender of a task, in the worker that runs it.

.. code-block:: python

    app = Celery("bot", broker="redis://localhost")
    connect()  # in the module that clients and workers import
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hl_sessions.carrying.message import CARRIED, carried, carry
from hl_sessions.client.client import DEFAULT_TIMEOUT
from hl_sessions.datapoints.sender import flush_all
from hl_sessions.manager import SessionManager, checked_manager

try:
    from celery import signals
except ImportError as error:
    raise ImportError(
        "hl_sessions.integrations.celery needs Celery: pip install 'hl-sessions[celery]'"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

__all__ = ["connect", "disconnect"]

#: The attribute of a task's request that holds the scope of the task.
_SCOPE = "_hl_sessions_scope"


class _Connection:
    """The receivers of Celery's signals in this process."""

    def __init__(self) -> None:
        self.manager: SessionManager | None = None

    def before_publish(self, *, headers: MutableMapping[str, Any], **_: Any) -> None:
        """Add the session to the message; a retry already has that of the first attempt, or none."""
        if not headers.get("retries") and (data := carry()):
            headers[CARRIED] = data

    def before_run(self, *, task: Any, **_: Any) -> None:
        """Enter the session of the task."""
        # A task that is called directly, and not sent, runs in the session of its caller anyway.
        if not task.request.is_eager:
            scope = carried(task.request.get(CARRIED), self.manager)
            scope.__enter__()
            setattr(task.request, _SCOPE, scope)

    def after_run(self, *, task: Any, **_: Any) -> None:
        """Leave the session of the task."""
        scope = vars(task.request).pop(_SCOPE, None)
        if scope is not None:
            scope.__exit__(None, None, None)

    def before_end(self, **_: Any) -> None:
        """Send the datapoints of this process, which ends without Python's exit handlers."""
        flush_all(DEFAULT_TIMEOUT)


_connection = _Connection()
_RECEIVERS: list[tuple[Any, Callable[..., None]]] = [
    (signals.before_task_publish, _connection.before_publish),
    (signals.task_prerun, _connection.before_run),
    (signals.task_postrun, _connection.after_run),
    (signals.worker_process_shutdown, _connection.before_end),
]


def connect(manager: SessionManager | None = None) -> None:
    """Let each task run in the session of its sender, in this process from now on.

    Call this both where tasks are sent and in the workers. Sending a task in a scope reads the ID like
    ``session.id``. If the session cannot be created, the task is sent anyway. Retries, and the tasks of
    chains, groups and chords, have the session, too. An error callback has no session if the process of its
    task was killed, such as by a hard time limit. A task that is sent outside every scope has no session.
    Calling this again replaces the manager.

    Args:
        manager: the manager of the sessions in workers. ``None``: the one of :func:`hl_sessions.configure`.

    Raises:
        ConfigurationError: ``manager`` is not a manager.
    """
    _connection.manager = checked_manager(manager)
    for signal, receiver in _RECEIVERS:
        signal.connect(receiver)


def disconnect() -> None:
    """Undo :func:`connect`; tasks that are running keep their session."""
    for signal, receiver in _RECEIVERS:
        if signal is not signals.task_postrun:  # its receiver leaves the sessions of running tasks
            signal.disconnect(receiver)
    _connection.manager = None
