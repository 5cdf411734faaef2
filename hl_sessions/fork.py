"""Fresh locks, threads and connections in the child of a ``fork``.

Sockets are shared with the parent, locks may be held by a thread that the child does not have, and
no thread but the forking one survives. What owns any of these registers here and renews it.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol

__all__ = ["renew_after_fork"]


class Renewable(Protocol):
    """What has something that a forked child cannot go on using."""

    def _renew_after_fork(self) -> None: ...


_renewables: weakref.WeakSet[Renewable] = weakref.WeakSet()


def renew_after_fork(renewable: Renewable) -> None:
    """Call ``renewable._renew_after_fork()`` in every child that this process forks from now on."""
    _renewables.add(renewable)


def _renew_all() -> None:
    for renewable in list(_renewables):
        renewable._renew_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
