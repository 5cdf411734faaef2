"""The middlewares around an application, as far as they can be found."""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from hl_sessions.manager import SessionManager

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Layer", "layer_of", "layers_in", "nested"]

_OWN: Final = "hl_sessions.integrations."
#: The attributes in which frameworks and middlewares keep the application inside.
_INNER: Final = ("wsgi_app", "asgi_app", "app", "application", "wsgi_application", "other_asgi_app")


class Layer(NamedTuple):
    """A middleware, or an application.

    Attributes:
        name: the name of its class or function.
        is_own: whether it is a middleware of this package.
        manager: the manager of its sessions; ``None``: the default manager, or it is not ours.
        has_conversations: whether it is ours, and finds the conversation of a request.
    """

    name: str
    is_own: bool
    manager: SessionManager | None
    has_conversations: bool = False


def nested(application: Any) -> Iterator[Any]:
    """Yield an application and the applications inside it, the outermost first."""
    seen: set[int] = set()
    while application is not None and id(application) not in seen:
        seen.add(id(application))
        yield application
        application = next((getattr(application, name) for name in _INNER if _keeps(application, name)), None)


def _keeps(application: Any, name: str) -> bool:
    """Whether it has such an attribute of its own, and not one of its class."""
    is_slot = inspect.ismemberdescriptor(getattr(type(application), name, None))
    return name in getattr(application, "__dict__", {}) or (is_slot and hasattr(application, name))


def layers_in(application: Any) -> list[Layer]:
    """Return the middlewares that a framework keeps in a list, else the application itself as a layer."""
    kind = type(application)
    if "user_middleware" in getattr(application, "__dict__", {}):  # Starlette and FastAPI
        return [
            layer_of(
                middleware.cls, (*middleware.args, middleware.kwargs.get("manager"))[0], middleware.kwargs
            )
            for middleware in application.user_middleware
        ]
    if kind.__module__.startswith("django.core.handlers"):
        return _layers_of_django()
    if kind.__module__.startswith("aiohttp.web"):
        return [layer_of(middleware) for middleware in application.middlewares]
    if kind.__module__ == "grpc._server":
        pipeline = getattr(getattr(application, "_state", None), "interceptor_pipeline", None)
        return [layer_of(interceptor) for interceptor in getattr(pipeline, "interceptors", ())]
    if kind.__module__.startswith("a2wsgi"):  # passes everything on, the session too
        return []
    # Flask and Quart have a method of this name, which a middleware replaces.
    is_wrapped_inside = any(hasattr(kind, name) for name in ("wsgi_app", "asgi_app"))
    return [] if is_wrapped_inside else [layer_of(application)]


def layer_of(
    layer: Any, manager: SessionManager | None = None, options: dict[str, Any] | None = None
) -> Layer:
    """Return the layer for a middleware.

    Args:
        layer: the middleware, or its class.
        manager: the argument ``manager`` for its class.
        options: the other arguments for its class.
    """
    is_named = isinstance(layer, type) or inspect.isroutine(layer)
    kind = layer if is_named else type(layer)
    classes = kind.__mro__ if isinstance(kind, type) else (kind,)
    own = [one for one in classes if str(one.__module__).startswith(_OWN)]
    public = next((one for one in own if not one.__qualname__.startswith("_")), kind)
    if not own:
        return Layer(public.__qualname__, is_own=False, manager=None)
    sessions = getattr(layer, "_sessions", layer)  # the attribute of Sanic's application
    found = manager or getattr(sessions, "_manager", None)
    incoming = getattr(sessions, "_incoming", None)
    return Layer(
        public.__qualname__,
        is_own=True,
        manager=found if isinstance(found, SessionManager) else None,
        has_conversations=_has_conversations(options or {}) or getattr(incoming, "has_conversations", False),
    )


def _layers_of_django() -> list[Layer]:
    django: Any = sys.modules["django.conf"]
    given = getattr(django.settings, "HL_SESSIONS", None)
    options = given if isinstance(given, dict) else {}
    layers = []
    for path in django.settings.MIDDLEWARE:
        is_own = path.startswith(_OWN)
        manager = options.get("manager") if is_own else None
        layers.append(Layer(path, is_own, manager, is_own and _has_conversations(options)))
    return layers


def _has_conversations(options: dict[str, Any]) -> bool:
    return any(options.get(name) is not None for name in ("key", "cookie"))
