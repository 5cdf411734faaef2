"""The renewal of objects after a fork."""

import threading

import pytest

from hl_sessions.process.fork import _renewables, renew_after_fork
from tests.interpreters import collects_at_once


class Registered:
    def _renew_after_fork(self) -> None:
        """Nothing to renew."""


@pytest.mark.slow
@collects_at_once
def test_threads_may_register_at_the_moment_of_a_fork() -> None:
    """All registered objects are listed, even if some are added or removed meanwhile."""
    is_over = threading.Event()
    kept = Registered()
    renew_after_fork(kept)

    def register() -> None:
        while not is_over.is_set():
            registered = [Registered() for _ in range(50)]
            for each in registered:
                renew_after_fork(each)

    threads = [threading.Thread(target=register) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        assert all(kept in list(_renewables) for _ in range(2000))
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
