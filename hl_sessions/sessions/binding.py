"""Sessions in threads, timers, executors and schedulers, where the context is missing or the wrong one."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from hl_sessions.process.late_imports import late_import
from hl_sessions.sessions.current import current_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from hl_sessions.sessions.session import Session

__all__ = ["SessionThreadPoolExecutor", "bind", "unbound"]

Function = TypeVar("Function")
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def bind(function: Function) -> Function:
    """Return ``function``, wrapped so that each call runs in the session that is current now, or in none.

    For code that starts with an empty context: ``threading.Thread`` and ``Timer``, executors, greenlets.

    .. code-block:: python

        threading.Thread(target=bind(index_documents)).start()

    Args:
        function: a function, coroutine function, generator, method, class or callable object.

    Raises:
        TypeError: ``function`` cannot be called.
    """
    return _in_session(function, current_session())


def unbound(function: Function) -> Function:
    """Return ``function``, wrapped so that each call runs in no session, even if it is called in a scope.

    For code that is started in a scope and outlives it: schedulers, consumers, pools of tasks. Otherwise they
    keep the session of the request that started them, and serve all others in it.

    .. code-block:: python

        unbound(scheduler.add_job)(refresh_index, "interval", minutes=5)

    Args:
        function: as for :func:`bind`.

    Raises:
        TypeError: ``function`` cannot be called.
    """
    return _in_session(function, None)


def _in_session(function: Function, session: Session | None) -> Function:
    with late_import:  # a program that binds and decorates nothing needs no wrapt
        from hl_sessions.sessions.wrapping import bound

    result: Function = bound(function, session)
    return result


class SessionThreadPoolExecutor(ThreadPoolExecutor):
    """A ``ThreadPoolExecutor`` whose ``submit`` and ``map`` take the current session along."""

    def submit(
        self, fn: Callable[Parameters, Result], /, *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Future[Result]:
        """Call ``fn`` in a thread, in the session of the caller."""
        return super().submit(bind(fn), *args, **kwargs)

    def map(self, fn: Callable[..., Result], *iterables: Iterable[Any], **options: Any) -> Iterator[Result]:
        """Call ``fn`` in threads, in the session of the caller; the options are those of ``Executor.map``."""
        return super().map(bind(fn), *iterables, **options)  # bound now, as it may submit later
