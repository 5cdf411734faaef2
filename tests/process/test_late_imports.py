"""Imports at first use, while another thread forks."""

import os
import subprocess
import sys

import pytest

from tests.waiting import PATIENCE

CODE = """
import os, sys, threading
import hl_sessions as hl

class Finder:
    # Tells when the import of the module has begun, and lets it go on a moment later.
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            begun.set()
            go_on.wait(0.2)

begun, go_on = threading.Event(), threading.Event()
sys.meta_path.insert(0, Finder())
thread = threading.Thread(target=lambda: {use})
thread.start()
assert begun.wait({patience})
child = os.fork()
if child == 0:
    {use}
    os._exit(0)
_, status = os.waitpid(child, 0)
thread.join()
print(status)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize(
    ("module", "use"),
    [
        pytest.param("requests", "hl.SessionManager()", id="HTTP client"),
        pytest.param("wrapt", "hl.with_session(print)", id="wrapt"),
    ],
)
def test_a_child_can_use_what_another_thread_was_importing(module: str, use: str) -> None:
    """It has the whole module, and need not wait for a thread that it does not have."""
    code = CODE.format(module=module, use=use, patience=PATIENCE)
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (process.stdout, process.stderr) == ("0\n", "")
