"""The examples run and do what they say."""

import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.servers import served
from tests.waiting import PATIENCE

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(scope="module")
def api_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    database = str(tmp_path_factory.mktemp("examples") / "sessions.sqlite3")
    with served(database) as url:
        yield url


def run(name: str, api_url: str) -> list[str]:
    """The lines that an example prints as a script."""
    completed = subprocess.run(
        [sys.executable, EXAMPLES / name],
        env=os.environ | {"HL_SESSIONS_BASE_URL": api_url},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert completed.stderr == ""
    return completed.stdout.splitlines()


def datapoints(api_url: str, project: str) -> list[dict[str, Any]]:
    """The datapoints of a project."""
    projects = requests.get(f"{api_url}/projects", timeout=PATIENCE).json()["records"]
    project_id = next(record["id"] for record in projects if record["name"] == project)
    records: list[dict[str, Any]]
    records = requests.get(f"{api_url}/logs", params={"project_id": project_id}, timeout=PATIENCE).json()[
        "records"
    ]
    return records


def test_every_example_is_run_by_a_test_and_shown_in_the_table() -> None:
    """A new one needs a test, here, in the folder beside or among the crossings, and a row in the README."""
    tests = Path(__file__).parent
    files = [Path(__file__), *tests.glob("examples/*.py"), tests.parent / "crossings" / "test_gradio.py"]
    source = "".join(path.read_text() for path in files)
    examples = {path.stem for path in EXAMPLES.glob("*.py")} - {"__main__", "fake_model"}
    assert {name for name in examples if not re.search(rf'"{name}(\.py)?"', source)} == set()
    table = (EXAMPLES / "README.md").read_text()
    rows = re.findall(r"^\| `python examples (\w+)` \|.*\(\1\.py\)", table, re.MULTILINE)
    assert sorted(rows) == sorted(examples)


def test_every_example_says_at_its_beginning_what_to_install() -> None:
    """For the runner, too, which repeats it where a library is absent."""
    for example in EXAMPLES.glob("[!_]*.py"):
        imported = re.findall(r"^(?:from|import) (\w+)", source := example.read_text(), re.MULTILINE)
        if example.stem != "fake_model" and {*imported} - {*sys.stdlib_module_names, "hl_sessions"}:
            assert "pip install" in source.split('"""')[1], example


@pytest.mark.skipif(find_spec("gradio") is not None, reason="Gradio is installed")
def test_the_runner_names_the_library_that_an_example_lacks() -> None:
    also = "" if find_spec("openai") else ", openai"
    with pytest.raises(SystemExit, match=rf"^gradio_chat needs gradio{also}: pip install .*gradio.*$"):
        checked("gradio_chat")


@pytest.mark.parametrize(
    ("example", "library", "variables"),
    [
        ("slack_bolt_bot", "slack_bolt", ["SLACK_BOT_TOKEN", "SLACK_SIGNING_SECRET"]),
        ("slack_bolt_async_bot", "slack_bolt", ["SLACK_BOT_TOKEN", "SLACK_APP_TOKEN"]),
        ("telegram_bot", "telegram", ["TELEGRAM_BOT_TOKEN"]),
        ("discord_bot", "discord", ["DISCORD_BOT_TOKEN"]),
    ],
)
def test_the_runner_names_the_variables_that_an_example_lacks(
    example: str, library: str, variables: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once all are there, it runs it."""
    pytest.importorskip(library)
    for variable in variables:
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(SystemExit, match=f"^{example} needs {' and '.join(variables)} in the environment$"):
        checked(example)
    for variable in variables:
        monkeypatch.setenv(variable, "given")
    checked(example)


def checked(name: str) -> None:
    """Let the runner of the examples check one before it starts anything."""
    pytest.importorskip("pydantic")
    runpy.run_path(str(EXAMPLES / "__main__.py"))["check"](name)


def test_conversations_have_a_session_each(api_url: str) -> None:
    """Messages of a chat share one until a new conversation is asked for."""
    lines = run("conversations.py", api_url)
    first, other, second, _, again = (re.findall(r"sesh_\S+", line) for line in lines)
    assert first == second
    assert len({*first, *other, *again}) == 3
    logged = {
        record["inputs"]["text"]: record["session_id"] for record in datapoints(api_url, "conversations")
    }
    assert [logged[text] for text in ("Hello", "Hi", "Hello again")] == [*first, *other, *again]


def test_threads_have_the_session_of_the_caller(api_url: str) -> None:
    """All four lines show the same ID, and all four datapoints have it."""
    lines = run("threads.py", api_url)
    assert [line.split(":")[0] for line in lines] == ["caller", "pool 1", "pool 2", "thread"]
    assert len({line.split(": ")[1] for line in lines}) == 1
    assert "sesh_" in lines[0]
    logged = datapoints(api_url, "threads")
    assert sorted(f"{record['source']}: {record['session_id']}" for record in logged) == sorted(lines)
