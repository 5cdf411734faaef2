"""Examine an application: the middlewares around it, and the managers that it uses."""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from hl_sessions.defaults import _default, default_manager
from hl_sessions.doctor.findings import Finding, Mark
from hl_sessions.manager import SessionManager

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

__all__ = ["Application", "ApplicationError", "load"]

_OWN: Final = "hl_sessions.integrations."
#: The attributes in which frameworks and middlewares keep what they pass requests on to.
_INNER: Final = ("wsgi_app", "asgi_app", "app", "application", "wsgi_application", "other_asgi_app")


class ApplicationError(Exception):
    """The application cannot be imported; the message says why, in one line."""


class _Layer(NamedTuple):
    """A middleware or application that a request passes on its way in.

    Attributes:
        name: of its class or function.
        is_own: whether it is a middleware of this package.
        manager: opens its sessions; ``None``: the default manager, or it is not ours.
    """

    name: str
    is_own: bool
    manager: SessionManager | None


class Application:
    """An application of ASGI or WSGI that has been imported.

    Args:
        module: the module that holds it.
        application: the application.
    """

    def __init__(self, module: ModuleType, application: Any) -> None:
        self._module = module
        self._application = application
        self._layers = list(_layers(application))

    def examine(self) -> Iterator[Finding]:
        """Tell where the middleware stands, and which dependencies open scopes in vain."""
        names = [layer.name for layer in self._layers]
        own = next((place for place, layer in enumerate(self._layers) if layer.is_own), None)
        if own == 0:
            yield Finding(Mark.OK, f"{names[0]} stands outermost")
        elif own is not None:
            yield Finding(
                Mark.WRONG,
                f"around {names[own]} stands {', '.join(names[:own])}: what is done there, and requests that"
                " are answered there, have no session",
                "make the middleware of hl_sessions the last one that is added, or the first of a list",
            )
        elif callable(self._application):
            yield Finding(
                Mark.WARNING,
                "no middleware of hl_sessions stands around it: a request has no session, but where"
                " with_session or a manager opens one",
                "HLSessionMiddleware, or HLSessions(app) for Flask",
            )
        else:
            yield Finding(Mark.NOTE, "it is no application of ASGI or WSGI: nothing to wrap")
        for function in _vain_dependencies(self._application):
            yield Finding(
                Mark.WARNING,
                f"the dependency {function.__name__}() opens its scope in a worker thread, so the endpoint is"
                " outside of it",
                "make it an async def",
            )

    def managers(self) -> list[SessionManager]:
        """Return the managers that it uses: of its middleware, of its module, and of ``configure``.

        Raises:
            ConfigurationError: the middleware takes the default manager, and the environment is wrong.
        """
        found = [layer.manager or default_manager() for layer in self._layers if layer.is_own]
        found += [value for value in vars(self._module).values() if isinstance(value, SessionManager)]
        found += [] if _default.manager is None else [_default.manager]
        return list(dict.fromkeys(found))


def load(name: str) -> Application:
    """Import an application by its name, as servers do.

    Args:
        name: such as ``shop.main:app``; the current folder is importable.

    Raises:
        ApplicationError: it cannot be imported.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise ApplicationError(
            f"{name} must be the name of a module and of the application in it: module:app"
        )
    sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
        return Application(module, reduce(getattr, attribute.split("."), module))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever the application does
        raise ApplicationError(f"{name} cannot be imported: {_last_line(error)}") from None


def _last_line(error: BaseException) -> str:
    """Return the last line of a traceback, with the place in the application if there is one."""
    line = traceback.format_exception_only(type(error), error)[-1].strip().splitlines()[-1]
    if isinstance(error, SyntaxError):
        return f"{line} ({_place(error.filename, error.lineno)})"
    own = {__file__, importlib.__file__}
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename not in own]
    places = [_place(frame.filename, frame.lineno) for frame in frames if not frame.filename.startswith("<")]
    return f"{line} ({places[-1]})" if places else line


def _place(filename: str | None, line: int | None) -> str:
    return f"{Path(filename or '').name}, line {line}"


def _layers(application: Any) -> Iterator[_Layer]:
    """Yield the middlewares around an application as far as they show, the outermost first."""
    seen: set[int] = set()
    while application is not None and id(application) not in seen:
        seen.add(id(application))
        listed = _listed(application)
        yield from listed if listed is not None else [_layer(application)]
        attributes = getattr(application, "__dict__", {})
        application = next((attributes[name] for name in _INNER if name in attributes), None)


def _listed(application: Any) -> list[_Layer] | None:
    """Return the middlewares that a framework keeps in a list; ``None``: it is no such framework."""
    kind = type(application)
    if "user_middleware" in getattr(application, "__dict__", {}):  # Starlette and FastAPI
        return [
            _layer(middleware.cls, middleware.kwargs.get("manager"))
            for middleware in application.user_middleware
        ]
    if kind.__module__.startswith("django.core.handlers"):
        django: Any = sys.modules["django.conf"]
        return [_Layer(path, path.startswith(_OWN), None) for path in django.settings.MIDDLEWARE]
    if kind.__module__.startswith("aiohttp.web"):
        return [_layer(middleware) for middleware in application.middlewares]
    if kind.__module__.startswith("a2wsgi"):  # passes everything on, the session too
        return []
    # Flask and Quart have a method of this name, and in its place what wraps it.
    return [] if any(hasattr(kind, name) for name in ("wsgi_app", "asgi_app")) else None


def _layer(layer: Any, manager: SessionManager | None = None) -> _Layer:
    is_named = isinstance(layer, type) or inspect.isroutine(layer)
    kind = layer if is_named else type(layer)
    classes = kind.__mro__ if isinstance(kind, type) else (kind,)
    own = [one for one in classes if str(one.__module__).startswith(_OWN)]
    public = next((one for one in own if not one.__qualname__.startswith("_")), kind)
    found = manager or getattr(layer, "_manager", None)
    return _Layer(
        public.__qualname__, bool(own), found if own and isinstance(found, SessionManager) else None
    )


def _vain_dependencies(application: Any) -> Iterator[Any]:
    """Yield the sync generator dependencies of FastAPI that use a manager."""
    seen: set[int] = set()
    waiting = [route.dependant for route in getattr(application, "routes", ()) if hasattr(route, "dependant")]
    while waiting:
        dependencies = waiting.pop().dependencies
        waiting += dependencies
        for dependency in dependencies:
            function = dependency.call
            if inspect.isgeneratorfunction(function) and id(function) not in seen:
                seen.add(id(function))
                used = inspect.getclosurevars(function)
                values = [*used.globals.values(), *used.nonlocals.values()]
                if any(isinstance(value, SessionManager) for value in values):
                    yield function
