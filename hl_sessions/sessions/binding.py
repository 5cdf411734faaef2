"""Taking the current session along to where a context does not go by itself: threads, timers, executors."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from hl_sessions.sessions.current import current_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["SessionThreadPoolExecutor", "bind"]

Function = TypeVar("Function")
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def bind(function: Function) -> Function:
    """Give ``function`` such that each call runs in the session that is current now.

    For what starts with an empty context: ``threading.Thread`` and ``Timer``, executors, greenlets.

    .. code-block:: python

        threading.Thread(target=bind(index_documents)).start()

    Args:
        function: a function, coroutine function, generator, method, class or callable object; outside
            every scope it is given back as it is.

    Raises:
        TypeError: it cannot be called.
    """
    session = current_session()
    return function if session is None else session.bind(function)


class SessionThreadPoolExecutor(ThreadPoolExecutor):
    """A ``ThreadPoolExecutor`` whose ``submit`` and ``map`` take the session along that is current then."""

    def submit(
        self, fn: Callable[Parameters, Result], /, *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Future[Result]:
        """Call ``fn`` in a thread, in the session of the caller."""
        return super().submit(bind(fn), *args, **kwargs)

    def map(self, fn: Callable[..., Result], *iterables: Iterable[Any], **options: Any) -> Iterator[Result]:
        """Call ``fn`` in threads, in the session of the caller; the options are those of ``Executor.map``."""
        return super().map(bind(fn), *iterables, **options)  # which may submit when it is iterated
