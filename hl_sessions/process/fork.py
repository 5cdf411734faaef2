"""Fresh locks, threads and connections in the child of a ``fork``.

Sockets are shared with the parent, locks may be held by a thread that the child does not have, and
no thread but the forking one survives. What owns any of these registers here and renews it.
"""

from __future__ import annotations

# Loaded before what is registered below, which then comes first. During a fork both hold a lock of theirs,
# which a thread that is waited for may need.
import concurrent.futures.thread  # noqa: F401
import logging  # noqa: F401
import os
import weakref
from contextlib import suppress
from typing import Protocol, TypeVar

__all__ = ["prepare_for_fork", "renew_after_fork"]


Registered = TypeVar("Registered")


class Renewable(Protocol):
    """What has something that a forked child cannot go on using."""

    def _renew_after_fork(self) -> None: ...


class Preparable(Protocol):
    """What must not be in use at the moment of a fork."""

    def _prepare_for_fork(self) -> None: ...

    def _go_on_after_fork(self) -> None: ...


_preparables: weakref.WeakSet[Preparable] = weakref.WeakSet()
_renewables: weakref.WeakSet[Renewable] = weakref.WeakSet()


def renew_after_fork(renewable: Renewable) -> None:
    """Call ``renewable._renew_after_fork()`` in every child that this process forks from now on."""
    _renewables.add(renewable)


def prepare_for_fork(preparable: Preparable) -> None:
    """Call ``_prepare_for_fork()`` before every fork, and ``_go_on_after_fork()`` in the parent after it."""
    _preparables.add(preparable)


def _members(registered: weakref.WeakSet[Registered]) -> list[Registered]:
    while True:
        with suppress(RuntimeError):  # another thread has just registered
            return list(registered)


def _prepare_all() -> None:
    for preparable in _members(_preparables):
        preparable._prepare_for_fork()


def _go_on_all() -> None:
    for preparable in _members(_preparables):
        preparable._go_on_after_fork()


def _renew_all() -> None:
    for renewable in _members(_renewables):
        renewable._renew_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_prepare_all, after_in_parent=_go_on_all, after_in_child=_renew_all)
