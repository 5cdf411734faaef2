"""The page on jobs: each block is a module, which the commands below it run as a worker and as a sender."""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.servers import PostgreSQL, served
from tests.waiting import PATIENCE, wait_until

PAGE = Path(__file__).parents[2] / "docs" / "jobs.md"
DOCUMENTED_URL = "http://127.0.0.1:8642/v4"
DOCUMENTED_REDIS = "redis://127.0.0.1:6379"
DOCUMENTED_POSTGRESQL = "postgresql://localhost/bot"
SESSION_ID = re.compile(r"sesh_[-\w]{24}")


def queues() -> Iterator[object]:
    """Yield the block and the commands of each section that has both."""
    for section in re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE):
        blocks = dict(re.findall(r"^```(python|console)\n(.*?)^```", section, re.DOTALL | re.MULTILINE))
        if blocks.keys() == {"python", "console"}:
            yield pytest.param(blocks["python"], blocks["console"], id=section.splitlines()[0])


@pytest.mark.slow
@pytest.mark.parametrize(("module", "commands"), list(queues()))
def test_a_worker_has_the_session_of_the_sender(
    module: str, commands: str, tmp_path: Path, redis_server: str, request: pytest.FixtureRequest
) -> None:
    """It prints the ID of the only session: a worker that imports the module sends no job."""
    for name in re.findall(r"^(?:from|import) (hl_sessions\.integrations\.\w+|\w+)", module, re.MULTILINE):
        pytest.importorskip(name, exc_type=ImportError)  # some libraries have no wheels for some Pythons
    if DOCUMENTED_POSTGRESQL in module:
        postgresql: PostgreSQL = request.getfixturevalue("postgresql")
        module = module.replace(DOCUMENTED_POSTGRESQL, postgresql.new_database())
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = os.environ | {"PATH": path, "PYTHONUNBUFFERED": "1"}
    *preparing, working, sending = (
        shlex.split(command.replace(DOCUMENTED_REDIS, redis_server), comments=True)
        for command in re.findall(r"^\$ (.*)$", commands, re.MULTILINE)
    )
    printed = tmp_path / "printed"
    with served(tmp_path / "sessions.sqlite3") as url, printed.open("w") as output:
        module = module.replace(DOCUMENTED_URL, url).replace(DOCUMENTED_REDIS, redis_server)
        (tmp_path / "bot.py").write_text(module)
        for command in (*preparing, sending):
            subprocess.run(command, cwd=tmp_path, env=environment, timeout=PATIENCE, check=True)
        worker = subprocess.Popen(
            working, cwd=tmp_path, env=environment, stdout=output, stderr=output, start_new_session=True
        )
        try:
            wait_until(lambda: SESSION_ID.search(printed.read_text()) or worker.poll() is not None)
            assert worker.poll() is None, printed.read_text()
        finally:
            if worker.poll() is None:
                os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
        (session,) = requests.get(f"{url}/sessions", timeout=PATIENCE).json()["records"]
    assert set(SESSION_ID.findall(printed.read_text())) == {session["id"]}
