"""In other interpreters of the process, in which no daemon thread can start."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.sessions_api import SessionsAPI
from tests.waiting import PATIENCE

pytestmark = pytest.mark.skipif(sys.version_info < (3, 14), reason="new in Python 3.14")

#: Three scopes in one of the interpreters of a pool, and what is logged there.
CODE = """
import json, sys
from concurrent.futures import InterpreterPoolExecutor

def read(settings):
    import logging
    from hl_sessions import SessionManager

    logged = []

    class Recorder(logging.Handler):
        def emit(self, record):
            logged.append(record.levelname)

    logging.getLogger("hl_sessions").addHandler(Recorder())
    ids = []
    with SessionManager(**settings) as manager:
        for _ in range(3):
            with manager.session() as session:
                ids.append(session.id)
    return [ids, logged]

if __name__ == "__main__":
    with InterpreterPoolExecutor(1) as pool:
        print(json.dumps(pool.submit(read, json.loads(sys.argv[1])).result()))
"""


@pytest.mark.parametrize("prefetch", [0, 2])
def test_reads_have_an_id_or_say_once_why_not(sessions_api: SessionsAPI, prefetch: int) -> None:
    """A read never raises; where it has no ID, one warning is all that comes of it."""
    settings: dict[str, Any] = {
        "base_url": sessions_api.base_url,
        "retries": 0,
        "timeout": PATIENCE,
        "prefetch": prefetch,
    }
    command = [sys.executable, "-W", "ignore", "-c", CODE, json.dumps(settings)]
    process = subprocess.run(
        command, env=os.environ, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert process.returncode == 0, process.stderr
    ids, logged = json.loads(process.stdout)
    if None in ids:
        assert (ids, logged) == ([None] * 3, ["WARNING"])
    else:
        # What would keep sessions ready needs a thread.
        assert (len(set(ids)), logged) == (3, ["WARNING"] if prefetch else [])
