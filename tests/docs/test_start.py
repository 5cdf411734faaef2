"""The first page of the guide: what it has its reader do ends with what it shows."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from tests.servers import served
from tests.waiting import PATIENCE

PAGE = Path(__file__).parents[2] / "docs" / "start.md"


@pytest.mark.slow
def test_four_questions_are_four_sessions(tmp_path: Path) -> None:
    """Run in an empty folder, the program logs three datapoints a session, and the errors of one."""
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    (tmp_path / "chat.py").write_text(code)
    with served(tmp_path / "sessions.sqlite3") as url:
        subprocess.run(
            [sys.executable, "chat.py"],
            cwd=tmp_path,
            env=os.environ | {"HL_SESSIONS_BASE_URL": url},
            capture_output=True,
            timeout=PATIENCE,
            check=True,
        )
        sessions = requests.get(f"{url}/sessions", timeout=PATIENCE).json()["records"]
        assert [session["datapoints_count"] for session in sessions] == [3] * 4
        (project,) = requests.get(f"{url}/projects", timeout=PATIENCE).json()["records"]
        logs = requests.get(
            f"{url}/logs", params={"project_id": project["id"], "size": 50}, timeout=PATIENCE
        ).json()["records"]
    failed = [log for log in logs if log.get("error")]
    assert [log["error"] for log in failed] == ["KeyError: 'Oslo'"] * 2
    assert len({log["session_id"] for log in failed}) == 1
    roots = {log["id"]: log for log in logs if log.get("parent_id") is None}
    assert {roots[log["parent_id"]]["source"] for log in logs if log["source"] == "retrieval"} == {"answer"}
