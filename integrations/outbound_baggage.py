"""A session in OpenTelemetry's own baggage while a client makes a call."""

from __future__ import annotations

import inspect
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from hl_sessions.carrying.headers import BAGGAGE_KEY
from hl_sessions.errors import ConfigurationError
from hl_sessions.sessions.current import current_session

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator

__all__ = ["Through", "aoutside", "in_baggage", "outside", "set_through"]

Through = Literal["opentelemetry"]
Item = TypeVar("Item")


def set_through(client: Any, through: Through | None, method: str, *, is_async: bool = False) -> None:
    """Wrap a method of a client so that the session is in OpenTelemetry's baggage, or remove the wrapper.

    Args:
        client: the client.
        through: ``"opentelemetry"``: wrap the method. ``None``: restore the former one.
        method: the name of the method by which the client makes each call.
        is_async: whether the method is awaited.

    Raises:
        ConfigurationError: ``through`` is another value.
        ImportError: OpenTelemetry is not installed.
    """
    if through is not None:
        _check(through)
    # Not by vars(), after which Python takes longer for each attribute of the client. Nor by setattr: some
    # clients warn of unknown attributes there.
    former = getattr(client, method, None)
    if isinstance(former, _Call):
        delattr(client, method)
        former = former.replaced
        if former is not None:
            object.__setattr__(client, method, former)
    elif getattr(former, "__self__", None) is client:
        former = None  # the method of the class
    if through is not None:
        object.__setattr__(client, method, (_AsyncCall if is_async else _Call)(client, method, former))


@contextmanager
def in_baggage(session_id: str | None) -> Iterator[None]:
    """Put a session into OpenTelemetry's baggage, within a ``with`` block; ``None``: change nothing."""
    if session_id is None:
        yield
        return
    with _naming(session_id):
        yield


def outside(items: Iterable[Item]) -> Iterator[Item]:
    """Return an iterator whose steps see the session that is in OpenTelemetry's baggage now, if any."""
    from opentelemetry import baggage

    return _steps(iter(items), baggage.get_baggage(BAGGAGE_KEY))


def aoutside(items: AsyncIterable[Item]) -> AsyncIterator[Item]:
    """Return an asynchronous iterator like :func:`outside`."""
    from opentelemetry import baggage

    return _asteps(aiter(items), baggage.get_baggage(BAGGAGE_KEY))


def _steps(iterator: Iterator[Item], named: object) -> Iterator[Item]:
    try:
        while True:
            try:
                with _naming(named):
                    item = next(iterator)
            except StopIteration:
                return
            yield item
    finally:
        if inspect.isgenerator(iterator):
            with _naming(named):
                iterator.close()


async def _asteps(iterator: AsyncIterator[Item], named: object) -> AsyncIterator[Item]:
    while True:
        try:
            with _naming(named):
                item = await anext(iterator)
        except StopAsyncIteration:
            return
        yield item


@contextmanager
def _naming(named: object) -> Iterator[None]:
    from opentelemetry import baggage, context

    changed = (
        baggage.remove_baggage(BAGGAGE_KEY) if named is None else baggage.set_baggage(BAGGAGE_KEY, named)
    )
    token = context.attach(changed)
    try:
        yield
    finally:
        context.detach(token)


def _check(through: object) -> None:
    if through != "opentelemetry":
        raise ConfigurationError(f"through={through!r} must be 'opentelemetry', or left out")
    try:
        import opentelemetry.baggage  # noqa: F401 - for the error
    except ImportError as error:
        raise ImportError(
            "through='opentelemetry' needs OpenTelemetry: pip install 'hl-sessions[opentelemetry]'"
        ) from error


class _Call:
    """Replaces a method of a client, above any instrumentation of it.

    Args:
        client: the client.
        method: the name of the method.
        replaced: what another library or the application has put in its place; ``None``: nothing.
    """

    def __init__(self, client: Any, method: str, replaced: Callable[..., Any] | None) -> None:
        self._client = weakref.ref(client)  # weak, as the client holds this object
        self._name = method
        self.replaced = replaced

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        session = current_session()
        with in_baggage(None if session is None else session.id):
            return self._method(*args, **kwargs)

    @property
    def _method(self) -> Any:
        if self.replaced is not None:
            return self.replaced
        # Looked up at each call, as an instrumentation may replace the method of the class later.
        client: Any = self._client()
        return getattr(type(client), self._name).__get__(client)


class _AsyncCall(_Call):
    """Replaces a method that is awaited."""

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        session = current_session()
        with in_baggage(None if session is None else await session.aid()):
            return await self._method(*args, **kwargs)
