"""The session of the right request for each event of a Gradio application.

.. code-block:: python

    demo = connect(gr.ChatInterface(chat))
    demo.launch()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from hl_sessions.defaults import manager_of_calls
from hl_sessions.integrations.asgi import SESSION, session_of
from hl_sessions.manager import SessionManager, checked_manager
from hl_sessions.sessions.binding import unbound

try:
    from gradio import Blocks
except ImportError as error:
    raise ImportError(
        "hl_sessions.integrations.gradio needs Gradio: pip install 'hl-sessions[gradio]'"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hl_sessions.sessions.session import Session

__all__ = ["connect"]

AnyBlocks = TypeVar("AnyBlocks", bound=Blocks)


def connect(blocks: AnyBlocks, manager: SessionManager | None = None) -> AnyBlocks:
    """Let each event run in the session of the HTTP request that brought it.

    Gradio's queue runs events in its own tasks, in the context of the request that started the queue. Without
    a middleware around the application, requests have no session: then each event has its own, so that one
    message is one session. All steps of a generator have the same session. A batch of events from several
    requests has no session. Calling this again replaces the manager.

    Args:
        blocks: the application that is launched or mounted; of nested ones, the outermost.
        manager: opens sessions for events without one. ``None``: the one of :func:`hl_sessions.configure`.

    Returns:
        The application.

    Raises:
        ConfigurationError: ``manager`` is not a manager.
        TypeError: ``blocks`` is not a ``gradio.Blocks``.
    """
    if not isinstance(blocks, Blocks):
        raise TypeError(f"not Blocks of Gradio: {blocks!r}")
    manager = checked_manager(manager)
    changed: Any = blocks
    events = getattr(changed.process_api, "__self__", None)
    if isinstance(events, _Events):
        events.manager = manager
        return blocks
    changed.process_api = _Events(changed.process_api, manager).process_api
    # launch() starts the queue in a request, whose session the queue would keep.
    changed.run_startup_events = unbound(changed.run_startup_events)
    return blocks


class _Events:
    """Runs the events of an application, for a generator one step at each call."""

    def __init__(
        self, process_api: Callable[..., Awaitable[dict[str, Any]]], manager: SessionManager | None
    ) -> None:
        self.manager = manager
        self._process_api = process_api

    async def process_api(
        self, block_fn: Any, inputs: Any, state: Any = None, request: Any = None, *args: Any, **options: Any
    ) -> dict[str, Any]:
        session = self._session(request)
        run = unbound(self._process_api) if session is None else session.bind(self._process_api)
        return await run(block_fn, inputs, state, request, *args, **options)

    def _session(self, request: Any) -> Session | None:
        if isinstance(request, list):  # the requests of a batch
            sessions = {self._session(each) for each in request}
            return sessions.pop() if len(sessions) == 1 else None
        # Gradio's request holds the request of FastAPI. Examples that run at the start have no request.
        request = getattr(request, "request", request)
        if request is None:
            return None
        if session_of(request) is None:
            request.scope[SESSION] = (self.manager or manager_of_calls()).new_session()
        return session_of(request)
