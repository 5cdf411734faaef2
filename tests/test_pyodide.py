"""In Pyodide, as in a browser: no threads, no sockets, no ``fork``."""

import json
import shutil
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.sessions_api import SessionsAPI
from tests.waiting import PATIENCE

HERE = Path(__file__).parent
PYODIDE = HERE.parent / ".pythons" / "pyodide"

pytestmark = [
    pytest.mark.skipif(not PYODIDE.is_dir(), reason="needs make pythons"),
    pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js"),
]

BEGINNING = """
import json, logging
from hl_sessions import *

logged = []

class Recorder(logging.Handler):
    def emit(self, record):
        logged.append(f"{record.levelname}: {record.getMessage()}")

logging.getLogger("hl_sessions").addHandler(Recorder())
(base_url,) = arguments
"""

InPyodide = Callable[[str], Any]


@pytest.fixture
def in_pyodide(sessions_api: SessionsAPI) -> InPyodide:
    """Runs code and returns its ``answer``; it has the ``base_url`` of the API, and what is ``logged``."""

    def run(code: str) -> Any:
        program = BEGINNING + textwrap.dedent(code) + "\nprint(json.dumps(answer))"
        # The flag lets a synchronous call wait for what JavaScript does.
        command = ["node", "--no-warnings", "--experimental-wasm-stack-switching", str(HERE / "pyodide.mjs")]
        process = subprocess.run(
            [*command, str(PYODIDE), program, sessions_api.base_url],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert process.returncode == 0, process.stderr[-3000:]
        return json.loads(process.stdout)

    return run


def check(ids: list[str | None], logged: list[str], sessions_api: SessionsAPI) -> None:
    """All scopes have an ID, or none has one, and nothing is sent in vain, and one line says why."""
    warnings = [line for line in logged if "blocked the event loop" not in line]
    if None in ids:
        assert set(ids) == {None}
        assert len(warnings) == 1
        assert sessions_api.posts == 0
    else:
        assert len(set(ids)) == len(ids) == sessions_api.posts
        # What would keep sessions ready needs a thread.
        assert all("no thread can be started" in line for line in warnings)
        assert len(warnings) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_read_has_an_id_or_says_once_why_not(
    in_pyodide: InPyodide, sessions_api: SessionsAPI, prefetch: int
) -> None:
    """Whether it can ask the API or not, nothing is raised."""
    ids, logged = in_pyodide(f"""
        ids = []
        with SessionManager(base_url, retries=0, prefetch={prefetch}) as manager:
            for _ in range(3):
                with manager.session() as session:
                    ids.append(session.id)
        answer = ids, logged
    """)
    check(ids, logged, sessions_api)


@pytest.mark.slow
def test_a_read_in_a_task_has_an_id_or_says_once_why_not(
    in_pyodide: InPyodide, sessions_api: SessionsAPI
) -> None:
    """The same goes for those that do not block the event loop."""
    ids, logged = in_pyodide("""
        ids = []
        with SessionManager(base_url, retries=0) as manager:
            for _ in range(3):
                async with manager.session():
                    ids.append(await acurrent_session_id())
        answer = ids, logged
    """)
    check(ids, logged, sessions_api)


@pytest.mark.slow
def test_scopes_need_no_api(in_pyodide: InPyodide, sessions_api: SessionsAPI) -> None:
    """Functions of every kind are in the session that they should be in."""
    assert in_pyodide("""
        manager = configure(base_url)

        @with_session(key="name")
        def greet(name):
            return current_session().key

        @with_session
        async def agreet():
            return current_session()

        @with_session
        def steps():
            yield current_session()
            yield current_session()

        first, second = steps()
        with manager.session() as session:
            bound = bind(current_session)
            answer = [
                greet("anna"),
                current_session() is session,
                await agreet() is session,
                unbound(current_session)() is None,
            ]
        answer += [bound() is session, first is second, current_session() is None]
    """) == ["anna", True, True, True, True, True, True]
    assert sessions_api.posts == 0
