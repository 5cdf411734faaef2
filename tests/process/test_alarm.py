"""An alarm that wakes a thread."""

import signal
import subprocess
import sys
import threading
import time

import pytest

from hl_sessions.process.alarm import Alarm
from tests.interpreters import is_installed
from tests.waiting import PATIENCE, in_threads


def test_it_wakes_a_thread_once() -> None:
    alarm = Alarm()
    [waiting] = in_threads(lambda: alarm.wait(PATIENCE), 1)
    alarm.set_off()
    assert waiting.result(PATIENCE)
    alarm.set_off()
    alarm.set_off()
    assert alarm.is_on()
    assert alarm.wait(0)
    assert not alarm.is_on()
    assert not alarm.wait(0)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
def test_a_signal_handler_may_set_it_off_wherever_it_interrupts() -> None:
    """Also in the midst of setting it off."""
    alarm = Alarm()
    times = []

    def handle(*_: object) -> None:
        alarm.set_off()
        times.append(time.monotonic())

    def send() -> None:
        while len(times) < 100:
            count = len(times)
            signal.pthread_kill(main, signal.SIGUSR1)
            while len(times) == count:
                pass

    main = threading.get_ident()
    former = signal.signal(signal.SIGUSR1, handle)
    try:
        [sending] = in_threads(send, 1)
        while not sending.done():
            alarm.set_off()
        sending.result(PATIENCE)
    finally:
        signal.signal(signal.SIGUSR1, former)
    assert alarm.is_on()


@pytest.mark.skipif(not is_installed("gevent"), reason="needs gevent")
def test_greenlets_run_while_one_waits() -> None:
    """Also where it was made before gevent's patches, as ``gunicorn -k gevent --preload`` does."""
    script = """
from hl_sessions.process.alarm import Alarm
alarm = Alarm()
from gevent import monkey, spawn
monkey.patch_all()
waiting = spawn(alarm.wait, 100)
spawn(alarm.set_off).join()
print(waiting.get())
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=PATIENCE / 2, check=True
    )
    assert done.stdout.split() == ["True"]
