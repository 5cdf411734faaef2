"""Features that not every interpreter has: packages, modules, a garbage collection on demand."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import hl_sessions

__all__ = ["bare_threads", "collects_at_once", "is_installed", "needs", "traced_bytes", "traces_of_memory"]

#: Skips tests of objects that must end with their last reference, or at the next ``gc.collect()``.
collects_at_once = pytest.mark.skipif(
    sys.implementation.name != "cpython", reason="objects end when the garbage collector gets to them"
)


#: Skips tests of threads that must begin with an empty context.
bare_threads = pytest.mark.skipif(
    getattr(sys.flags, "thread_inherit_context", 0) == 1, reason="a thread inherits the context of its start"
)


def is_installed(package: str) -> bool:
    return find_spec(package) is not None


def needs(package: str) -> pytest.MarkDecorator:
    """Skip a test, or a parameter of one, where a package is missing."""
    return pytest.mark.skipif(not is_installed(package), reason=f"needs {package}")


def traces_of_memory() -> Any:
    """Return the module ``tracemalloc``, which cannot be used on PyPy."""
    return pytest.importorskip("tracemalloc", exc_type=ImportError)


def traced_bytes(tracemalloc: Any, file: str) -> int:
    """Return the memory that the core and a file have allocated, without that of servers of tests."""
    package = Path(hl_sessions.__file__).parent
    wanted = [
        tracemalloc.Filter(inclusive=True, filename_pattern=f"{package}/*"),
        tracemalloc.Filter(inclusive=True, filename_pattern=file),
    ]
    others = tracemalloc.Filter(inclusive=False, filename_pattern=f"{package}/server/*")
    snapshot = tracemalloc.take_snapshot().filter_traces(wanted).filter_traces([others])
    return sum(trace.size for trace in snapshot.traces)
