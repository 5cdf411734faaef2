"""Forks the process of the tests, in which servers and clients of other tests may still have threads."""

import os
import traceback
from collections.abc import Callable
from typing import TypeVar

import pytest

Test = TypeVar("Test", bound=Callable[..., object])

FORKS = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork"),
    # Python 3.12 warns of a fork beside threads; that it goes well with ours is what is tested here.
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
    pytest.mark.forks,
]


def forks(test: Test) -> Test:
    """Mark a test, or a class of tests, as one that forks the process of the tests."""
    for mark in FORKS:
        test = mark(test)
    return test


def exit_code_of_child(work: Callable[[], object]) -> int:
    """Return the exit code of a forked child: 0 if ``work`` ended well."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:  # noqa: BLE001 - nothing may go on in the child
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
