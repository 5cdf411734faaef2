"""Examine the installed libraries: their integrations, and whether they lose the session."""

from __future__ import annotations

import pkgutil
import sys
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import hl_sessions.integrations
from hl_sessions.doctor.crossings import CROSSINGS, Crossing
from hl_sessions.doctor.findings import Finding, Mark

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["examine_integrations", "examine_libraries"]

#: The libraries of integrations whose name differs from that of their library.
_LIBRARIES: Final = {
    "asgi": (),
    "grpc": ("grpcio",),
    "httpx": ("httpx", "httpx2"),
    "logging": (),
    "opentelemetry": ("opentelemetry-sdk",),
    "sentry": ("sentry-sdk",),
    "wsgi": (),
}
_INTEGRATIONS: Final = hl_sessions.integrations.__name__


def examine_integrations(name: str | None) -> Iterator[Finding]:
    """Yield the integrations whose library is installed, and those that the application has loaded.

    Args:
        name: the name of the application; ``None``: none was given.
    """
    usable = [integration for integration in _integrations() if _has_library(integration)]
    loaded = [integration for integration in usable if _is_loaded(integration)]
    if name is not None:
        yield Finding(Mark.OK if loaded else Mark.NOTE, f"loaded by {name}: {', '.join(loaded) or 'none'}")
    others = [integration for integration in usable if integration not in loaded]
    yield Finding(Mark.NOTE, f"{'also ' if loaded else ''}usable here: {', '.join(others)}")


def examine_libraries(name: str | None) -> Iterator[Finding]:
    """Yield the libraries that lose the session, among those that the application has loaded, or all.

    Args:
        name: the name of the application; ``None``: none was given, so all installed libraries count.
    """
    concerned = [
        (crossing, installed)
        for crossing in CROSSINGS
        if (installed := _version(crossing.distribution)) is not None and crossing.concerns(installed)
    ]
    if name is not None:
        concerned = [
            (crossing, installed)
            for crossing, installed in concerned
            if crossing.module in sys.modules and not _is_mended(crossing)
        ]
    for crossing, installed in concerned:
        # An installed library may be unused, so only a foreign session is worth a warning.
        mark = Mark.NOTE if name is None and not crossing.is_foreign else Mark.WARNING
        text = f"{crossing.distribution} {installed}: {crossing.happens}"
        yield Finding(mark, text, f"{crossing.remedy} ({crossing.page})")
    if not concerned:
        yield Finding(
            Mark.OK, f"none that is {'loaded' if name else 'installed'} is known to lose the session"
        )


def _integrations() -> Iterator[str]:
    for module in pkgutil.iter_modules(hl_sessions.integrations.__path__):
        yield module.name


def _has_library(integration: str) -> bool:
    libraries = _LIBRARIES.get(integration, (integration,))
    return not libraries or any(_version(library) is not None for library in libraries)


def _is_loaded(integration: str) -> bool:
    return f"{_INTEGRATIONS}.{integration}" in sys.modules


def _is_mended(crossing: Crossing) -> bool:
    if crossing.distribution == "gevent":
        monkey: Any = sys.modules.get("gevent.monkey")
        is_patched = monkey is not None and bool(monkey.is_module_patched("socket"))
        return is_patched or not _is_used("gevent", apart_from="sentry_sdk")
    if crossing.distribution == "asgiref":
        return not _is_loaded("wsgi")
    return bool(crossing.mended_by) and _is_loaded(crossing.mended_by)


def _is_used(library: str, *, apart_from: str) -> bool:
    """Whether a loaded module has something of a library, apart from one that only looks for it."""
    return any(
        _is_of(library, value)
        for name, module in tuple(sys.modules.items())
        # A look into one of another type may load it, and may raise anything.
        if name.partition(".")[0] not in {library, apart_from} and type(module) is ModuleType
        for value in tuple(vars(module).values())
    )


def _is_of(library: str, value: Any) -> bool:
    try:
        origin = value.__name__ if isinstance(value, ModuleType) else value.__module__
        return isinstance(origin, str) and origin.partition(".")[0] == library
    except Exception:  # noqa: BLE001 - a stand-in for another object may raise anything
        return False


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
