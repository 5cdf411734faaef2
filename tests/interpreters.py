"""What not every interpreter has: packages, modules, a garbage collection that runs when it is told to."""

import sys
from importlib.util import find_spec
from typing import Any

import pytest

__all__ = ["collects_at_once", "is_installed", "needs", "traces_of_memory"]

#: Skips what is only seen where an object ends with its last reference, or with the next ``gc.collect()``.
collects_at_once = pytest.mark.skipif(
    sys.implementation.name != "cpython", reason="objects end when the garbage collector gets to them"
)


def is_installed(package: str) -> bool:
    return find_spec(package) is not None


def needs(package: str) -> pytest.MarkDecorator:
    """Skip a test, or a parameter of one, where a package is missing."""
    return pytest.mark.skipif(not is_installed(package), reason=f"needs {package}")


def traces_of_memory() -> Any:
    """Return the module ``tracemalloc``, which PyPy has without what it stands on."""
    return pytest.importorskip("tracemalloc", exc_type=ImportError)
