"""Every code block of the README and of the guide and its pages runs and does what the text says."""

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import requests
from starlette.testclient import TestClient

from hl_sessions import flush
from hl_sessions.integrations.celery import disconnect
from hl_sessions.integrations.logging import uninstall
from tests.servers import served
from tests.sessions_api import Answer, SessionsAPI, create_sessions
from tests.waiting import PATIENCE

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = (
    *("start.md", "why.md", "when-the-id-is-none.md"),
    *("guide.md", "logging-datapoints.md", "conversations.md", "jobs.md"),
    *("web.md", "web-starlette.md", "web-flask.md", "web-django.md", "web-aiohttp.md", "web-grpc.md"),
    "web-others.md",
    *("chat-pages.md", "bots.md", "between-services.md", "logs-and-traces.md"),
)
DOCUMENTED_URL = "http://127.0.0.1:8642/v4"
DOCUMENTED_REDIS = "redis://127.0.0.1:6379"


def _blocks() -> dict[str, str]:
    blocks, name = {}, ""
    for title, code in re.findall(
        r"^\*\*([^*]+)\*\*|^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE
    ):
        if title:
            name = re.sub(r"\W+", "-", title.lower())
        else:
            blocks[name] = code
    return blocks


BLOCKS = _blocks()


@pytest.fixture(scope="module")
def api_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    database = str(tmp_path_factory.mktemp("readme") / "sessions.sqlite3")
    with served(database) as url:
        yield url


@pytest.fixture
def run(
    api_url: str, redis_server: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], dict[str, Any]]]:
    """Runs a block as a user would, but against servers of the test."""
    monkeypatch.setenv("HL_SESSIONS_BASE_URL", api_url)

    def run(code: str) -> dict[str, Any]:
        module = ModuleType("readme")
        monkeypatch.setitem(sys.modules, "readme", module)  # where taskiq looks for functions
        code = code.replace(DOCUMENTED_URL, api_url).replace(DOCUMENTED_REDIS, redis_server)
        exec(compile(code, "block", "exec"), vars(module))
        return vars(module)

    yield run
    disconnect()
    uninstall()
    if sentry := sys.modules.get("hl_sessions.integrations.sentry"):
        sentry.disconnect()
    if structlog := sys.modules.get("structlog"):
        structlog.reset_defaults()
    if loguru := sys.modules.get("loguru"):
        loguru.logger.remove()
        loguru.logger.configure(patcher=lambda _: None)


def datapoints_of(api_url: str, project: str) -> list[dict[str, Any]]:
    assert flush(PATIENCE)
    projects = requests.get(f"{api_url}/projects", timeout=PATIENCE).json()["records"]
    project_id = next(record["id"] for record in projects if record["name"] == project)
    logs = requests.get(
        f"{api_url}/logs", params={"project_id": project_id, "size": 50}, timeout=PATIENCE
    ).json()
    records: list[dict[str, Any]] = logs["records"]
    return records


def test_every_block_is_run_by_a_test_of_this_file() -> None:
    """A new block in the README needs a test here."""
    assert len(BLOCKS) == README.count("```python")
    source = Path(__file__).read_text()
    assert [name for name in BLOCKS if f'"{name}"' not in source] == []


@pytest.mark.parametrize("name", ["flask", "starlette-fastapi"])
def test_one_request_to_the_application_is_one_session(
    name: str, run: Callable[[str], dict[str, Any]], api_url: str
) -> None:
    """Both datapoints of a request name the same session, those of the next another."""
    app = run(BLOCKS[name])["app"]
    before = {record["id"] for record in _datapoints_if_any(api_url, "support")}
    for _ in range(2):
        if name == "flask":
            response = app.test_client().post("/chat", json={"question": "Why?"})
            assert response.json == {"answer": "42"}
        else:
            answer = TestClient(app).get("/chat", params={"question": "Why?"})
            assert answer.json() == {"answer": "42"}
    new = [record for record in datapoints_of(api_url, "support") if record["id"] not in before]
    assert sorted(record["source"] for record in new) == ["answer", "answer", "moderation", "moderation"]
    sessions = [record["session_id"] for record in new]
    assert len(set(sessions)) == 2
    assert all(sessions.count(session) == 2 for session in sessions)


def _datapoints_if_any(api_url: str, project: str) -> list[dict[str, Any]]:
    try:
        return datapoints_of(api_url, project)
    except StopIteration:
        return []


BOT = "a-bot"


def test_a_conversation_of_the_bot_is_one_session_until_a_new_one(
    run: Callable[[str], dict[str, Any]], api_url: str
) -> None:
    """Messages of one chat share a session, other chats have others, and /new starts a new one."""
    on_message = run(BLOCKS[BOT])["on_message"]
    for chat, text in ((1, "a"), (1, "b"), (2, "c"), (1, "/new"), (1, "d")):
        on_message(chat, text)
    session_of = {record["inputs"]["text"]: record["session_id"] for record in datapoints_of(api_url, "bot")}
    assert session_of["a"] == session_of["b"]
    assert len({session_of[text] for text in "acd"}) == 3


@pytest.mark.parametrize("name", ["flask", "starlette-fastapi", BOT])
def test_the_applications_have_eight_lines(name: str) -> None:
    """As the heading says, without imports and empty lines."""
    assert "## Eight lines" in README
    lines = [line for line in BLOCKS[name].splitlines() if line and not line.startswith(("import", "from"))]
    assert len(lines) == 8


@pytest.mark.parametrize(
    "name", ["when-nothing-is-logged-or-read", "when-the-api-is-down", "with-threads", "with-streaming"]
)
def test_what_a_block_asserts_holds(name: str, run: Callable[[str], dict[str, Any]]) -> None:
    """The blocks on behaviour check themselves."""
    run(BLOCKS[name])


def test_every_page_with_blocks_is_one_of_these() -> None:
    """Unless another test runs its blocks."""
    elsewhere = {
        "agents.md",  # tests/test_crossings.py
        "moving-from-humanloop.md",  # crossings/test_phoenix.py
        "testing.md",  # tests/testing/test_page.py
    }
    with_blocks = {page.name for page in (ROOT / "docs").glob("*.md") if "```python" in page.read_text()}
    assert with_blocks - elsewhere == set(PAGES)


def _blocks_of_the_guide() -> Iterator[Any]:
    # Some of the pages need libraries that are in other environments.
    crossings = "".join(path.read_text() for path in (ROOT / "crossings").glob("test_*.py"))
    elsewhere = ["arq", *re.findall(r'run_block\("[^"]+", "([^"]+)"\)', crossings)]
    for page in PAGES:
        title, text = page, (ROOT / "docs" / page).read_text()
        for heading, code in re.findall(r"^##+ (.*?)$|^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            title = heading or title
            if code and title not in elsewhere:
                yield pytest.param(code, id=title)


@pytest.mark.parametrize("code", list(_blocks_of_the_guide()))
def test_a_block_of_the_guide_runs(
    code: str, run: Callable[[str], dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The blocks of the guide check themselves."""
    for module in re.findall(r"^(?:from|import) (hl_sessions\.integrations\.\w+|\w+)", code, re.MULTILINE):
        pytest.importorskip(module, exc_type=ImportError)  # some libraries have no wheels for some Pythons
    monkeypatch.chdir(tmp_path)  # some make files
    namespace = run(code)
    if "provider" in namespace:  # of OpenTelemetry
        namespace["provider"].shutdown()


def test_what_the_api_got_is_what_it_gets(
    run: Callable[[str], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The datapoints shown are of one session, and are those of the block but for IDs and times."""
    shown = re.search(r"```json\n(.*?)```", README, re.DOTALL)
    assert shown
    datapoints = json.loads(shown[1])
    assert len({datapoint["session_id"] for datapoint in datapoints}) == 1
    api = SessionsAPI()
    api.answer = lambda request: (
        Answer(201, []) if request.target.endswith("/logs") else create_sessions(request)
    )
    monkeypatch.setenv("HL_SESSIONS_BASE_URL", api.base_url)
    run(BLOCKS["flask"])["app"].test_client().post("/chat", json={"question": "..."})
    assert flush(PATIENCE)
    api.close()
    got: dict[str, dict[str, Any]] = {}
    for request in api.requests:
        if request.target.endswith("/logs"):
            for datapoint in json.loads(request.body):  # one that was slow comes in two parts
                got.setdefault(datapoint["reference_id"], {}).update(datapoint)
    assert [_without_ids_and_times(datapoint) for datapoint in got.values()] == [
        _without_ids_and_times(datapoint) for datapoint in datapoints
    ]


def _without_ids_and_times(datapoint: dict[str, Any]) -> dict[str, Any]:
    times_and_ids = dict.fromkeys(("reference_id", "created_at", "duration", "session_id"))
    return {name: times_and_ids.get(name, value) for name, value in datapoint.items()}


def test_the_commands_exist() -> None:
    """Each make target that the README, or the guide for contributors, names is one of the Makefile."""
    texts = README + (ROOT / "CONTRIBUTING.md").read_text()
    named = set(" ".join(re.findall(r"(?:`|\$ )make ([a-z -]*[a-z])", texts)).split())
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test"} <= named <= targets
