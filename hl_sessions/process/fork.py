"""Fresh locks, threads and connections in the child of a ``fork``.

Sockets are shared with the parent. Locks may be held by a thread that the child does not have. No thread but
the forking one survives. An object that owns any of these registers here, and renews it.
"""

from __future__ import annotations

# Loaded first, so that the functions registered below are called earlier at a fork. Both modules hold a lock
# of their own during a fork, and a thread that _prepare_all waits for may need it.
import concurrent.futures.thread  # noqa: F401
import logging  # noqa: F401
import os
import weakref
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["prepare_for_fork", "renew_after_fork"]


Member = TypeVar("Member")


class Renewable(Protocol):
    """An object with parts that a forked child cannot use."""

    def _renew_after_fork(self) -> None: ...


class Preparable(Protocol):
    """An object that must not be in use at the moment of a fork."""

    def _prepare_for_fork(self) -> None: ...

    def _go_on_after_fork(self) -> None: ...


class _Registered(Generic[Member]):
    """Registered objects, held weakly. Threads may register more while another one lists them.

    A ``WeakSet`` may change while it is listed, and with other threads at work it does so repeatedly.
    """

    def __init__(self) -> None:
        self._references: dict[weakref.ref[Member], None] = {}

    def add(self, member: Member) -> None:
        self._references[weakref.ref(member, self._forget)] = None

    def _forget(self, reference: weakref.ref[Member]) -> None:
        self._references.pop(reference, None)

    def __iter__(self) -> Iterator[Member]:
        references = list(self._references)  # in one step
        return iter([member for reference in references if (member := reference()) is not None])


_preparables: _Registered[Preparable] = _Registered()
_renewables: _Registered[Renewable] = _Registered()


def renew_after_fork(renewable: Renewable) -> None:
    """Call ``renewable._renew_after_fork()`` in every child that this process forks from now on."""
    _renewables.add(renewable)


def prepare_for_fork(preparable: Preparable) -> None:
    """Call ``_prepare_for_fork()`` before every fork, and ``_go_on_after_fork()`` in the parent after it."""
    _preparables.add(preparable)


def _prepare_all() -> None:
    for preparable in _preparables:
        preparable._prepare_for_fork()


def _go_on_all() -> None:
    for preparable in _preparables:
        preparable._go_on_after_fork()


def _renew_all() -> None:
    for renewable in _renewables:
        renewable._renew_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_prepare_all, after_in_parent=_go_on_all, after_in_child=_renew_all)
