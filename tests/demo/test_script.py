import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hl_sessions.demo import script
from tests.waiting import PATIENCE

HL_SESSIONS = Path(sys.executable).with_name("hl-sessions")
SESSION_ID = r"sesh_[A-Za-z0-9_-]{20,}"


NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The output of the script in an environment that names another API and another key."""
    temporary = tmp_path_factory.mktemp("temporary")
    variables = {
        "TMPDIR": str(temporary),
        "HL_SESSIONS_BASE_URL": f"{NOWHERE}/v4",
        "HL_SESSIONS_API_KEY": "sk-of-the-user",
        "HUMANLOOP_API_KEY": "sk-of-the-user",
        "HTTP_PROXY": NOWHERE,
        "http_proxy": NOWHERE,
        "no_proxy": "",
    }
    finished = subprocess.run(
        [HL_SESSIONS, "demo", "--script"],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    assert list(temporary.iterdir()) == []
    return finished.stdout


def test_the_script_prints_a_conversation(output: str) -> None:
    """Each message has a reply, and a session of its own."""
    for message in script.MESSAGES:
        assert f"you  {message}\nbot  " in output
    assert len(set(re.findall(rf"-> ({SESSION_ID})$", output, re.MULTILINE))) == len(script.MESSAGES)


def test_the_script_prints_the_sessions_it_made(output: str) -> None:
    """The table has the sessions of the replies in their order, each with its three datapoints."""
    rows = rf"^({SESSION_ID}) +moderation .*\n +retrieval .*\n +answer .*"
    replied = re.findall(rf"-> ({SESSION_ID})$", output, re.MULTILINE)
    assert re.findall(rows, output, re.MULTILINE) == replied
    assert output.endswith("\n4 messages, 4 sessions, 12 datapoints; no ID was passed along.\n")


def test_the_script_fits_into_100_columns(output: str) -> None:
    """No line is longer."""
    assert max(map(len, output.splitlines())) <= 100


def test_the_script_checks_what_it_shows(monkeypatch: pytest.MonkeyPatch, chat: Any) -> None:
    """Sessions that are not those of the conversation are an error."""
    monkeypatch.setattr(script, "STEPS", ("moderation", "retrieval", "another step"))
    lines: list[str] = []
    with pytest.raises(script.UnexpectedSessionsError, match="each with moderation, retrieval, another step"):
        script.converse(chat.url.rstrip("/"), lines.append, is_ending=lambda: False)
    assert "datapoints" not in lines[-1]


def test_the_script_stops_between_messages() -> None:
    """Told to end, it sends no further message."""
    lines: list[str] = []
    script.converse(NOWHERE, lines.append, is_ending=lambda: True)
    assert lines == []
