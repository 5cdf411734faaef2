"""The calls of the vendor's SDK name the session: of each release that ``crossings/`` pins."""

import asyncio
import inspect
import json
import logging
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import requests

pytest.importorskip("humanloop")

from humanloop import Humanloop, OpenApiException

from hl_sessions import ConfigurationError, SessionManager, flush
from hl_sessions.carrying import carried, carry
from hl_sessions.integrations.humanloop import instrument, uninstrument
from hl_sessions.process.seldom import Seldom
from tests.servers import served
from tests.sessions_api import Answer, Request, SessionsAPI, create_sessions, fail
from tests.waiting import PATIENCE, wait_until

CALLS = sorted(name for name in dir(Humanloop) if re.fullmatch("a?(log|chat|complete)(_.*)?", name))
#: One of each way that they are made in.
KINDS = ["log", "alog", "chat_deployed", "acomplete", "chat_stream"]
FIELDS: dict[str, Any] = {
    "project": "support",
    "messages": [{"role": "user", "content": "Why?"}],
    "inputs": {"question": "Why?"},
    "model_config_id": "config_1",
    "experiment_id": "exp_1",
}
LOG: dict[str, Any] = {"project": "support", "inputs": {}, "config": {"type": "model", "model": "m"}}
ANSWER = {"id": "data_1", "project_id": "pr_1", "data": [{"output": "because", "id": "data_1"}]}


def signature_of(client: Any, name: str) -> inspect.Signature:
    """Of a call that streams that of the one that does not."""
    alike = name.removesuffix("_stream")
    return inspect.signature(getattr(client, alike, None) or getattr(client, f"{alike}uration"))


def run(method: Callable[..., Any], *args: Any, **fields: Any) -> Any:
    """Make a call, and wait for all that is answered."""

    async def run_to_the_end() -> Any:
        answer = await method(*args, **fields)
        return [chunk async for chunk in answer.content] if method.__name__.endswith("_stream") else answer

    is_async = inspect.iscoroutinefunction(method)
    return plain(asyncio.run(run_to_the_end()) if is_async else method(*args, **fields))


def plain(answer: Any) -> Any:
    """Return what was answered, however the SDK wraps it."""
    if isinstance(answer, list):
        return [plain(entry) for entry in answer]
    return answer.model_dump() if hasattr(answer, "model_dump") else getattr(answer, "body", answer)


def call(client: Any, name: str, **fields: Any) -> Any:
    """Make the call of this name, with what it requires."""
    if name.endswith("log"):
        return run(getattr(client, name), **{**LOG, **fields})
    model_config = {"model": "m"} if "chat" in name else {"model": "m", "prompt_template": "{{question}}"}
    all_fields = {**FIELDS, "model_config": model_config}
    parameters = signature_of(client, name).parameters
    required = {key: value for key, value in all_fields.items() if key in parameters}
    return run(getattr(client, name), **required, **fields)


def answer_all(request: Request) -> Answer:
    created = create_sessions(request)
    if created.status != 404:
        return created
    body = json.loads(request.body)
    if isinstance(body, list):
        return Answer(200, [ANSWER for _ in body])
    return Answer(200, b"data: %b\n\n" % json.dumps(ANSWER).encode() if body.get("stream") else ANSWER)


def sent_by(sessions_api: SessionsAPI) -> Any:
    """The body of the only call but ``POST /sessions``."""
    (body,) = [request.body for request in sessions_api.requests if not request.target.endswith("/sessions")]
    return json.loads(body)


@pytest.fixture
def client(sessions_api: SessionsAPI) -> Any:
    sessions_api.answer = answer_all
    return Humanloop(host=sessions_api.base_url, api_key="key", openai_api_key="sk-of-the-user")


@pytest.fixture(scope="module")
def api_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Our server."""
    with served(tmp_path_factory.mktemp("humanloop") / "sessions.sqlite3") as url:
        yield url


@pytest.fixture
def served_client(api_url: str) -> Any:
    return instrument(Humanloop(host=api_url, api_key="key"))


@pytest.fixture
def served_manager(api_url: str) -> Iterator[SessionManager]:
    with SessionManager(api_url, project="support") as manager:
        yield manager


def stored(api_url: str, log: Any) -> Any:
    return requests.get(f"{api_url}/logs/{log['id']}", timeout=PATIENCE).json()


def stored_parent(api_url: str, log: Any) -> Any:
    return requests.get(f"{api_url}/logs/{stored(api_url, log)['parent_id']}", timeout=PATIENCE).json()


@pytest.mark.parametrize("name", CALLS)
def test_each_call_names_the_session(
    name: str, client: Any, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    assert instrument(instrument(client)) is client
    with manager.session() as session:
        answer = call(client, name)
        assert sent_by(sessions_api)["session_id"] == session.id
    assert answer
    assert "parent_reference_id" not in sent_by(sessions_api)


@pytest.mark.parametrize("name", KINDS)
def test_outside_of_scopes_and_once_that_is_undone_nothing_is_added(
    name: str, client: Any, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    call(client, name)
    before = sent_by(sessions_api)
    sessions_api.requests.clear()
    instrument(client)
    call(client, name)
    assert sent_by(sessions_api) == before
    sessions_api.requests.clear()
    uninstrument(client)
    with manager.session():
        call(client, name)
    assert sent_by(sessions_api) == before


@pytest.mark.parametrize("field", ["session_id", "session_reference_id"])
@pytest.mark.parametrize("name", KINDS)
def test_a_session_of_the_callers_own_stays(
    name: str, field: str, client: Any, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    instrument(client)
    with manager.session() as session:
        call(client, name, **{field: "own"})
    body = sent_by(sessions_api)
    assert {key: value for key, value in body.items() if key.startswith("session")} == {field: "own"}
    assert session.peek() is None


def test_so_does_one_that_is_given_by_its_position(
    client: Any, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    instrument(client)
    parameters = list(inspect.signature(client.log).parameters)
    before = [LOG.get(name) for name in parameters[: parameters.index("session_id")]]
    with manager.session():
        client.log(*before, "own", **{key: LOG[key] for key in LOG.keys() - set(parameters[: len(before)])})
    assert sent_by(sessions_api)["session_id"] == "own"


@pytest.mark.parametrize("name", KINDS)
def test_where_the_session_cannot_be_created_its_reference_is_named(
    name: str, client: Any, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    sessions_api.answer = lambda request: (
        fail()(request) if request.target.endswith("/sessions") else answer_all(request)
    )
    instrument(client)
    with manager.session() as session:
        call(client, name)
    body = sent_by(sessions_api)
    assert body["session_reference_id"] == session.reference_id
    assert "session_id" not in body


def test_the_parts_of_the_client_name_it_too(
    client: Any, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    instrument(client)
    parts = [client.logs, getattr(client.logs, "raw", client.logs)]
    with manager.session() as session:
        for part in parts:
            run(part.log, **LOG)
            run(part.alog, **LOG)
    bodies = [json.loads(request.body) for request in sessions_api.requests[1:]]
    assert [body["session_id"] for body in bodies] == [session.id] * 4


def test_each_datapoint_of_a_list_has_it(
    client: Any, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    instrument(client)
    given = [{**LOG, "output": "1"}, {**LOG, "session_id": "own"}]
    with manager.session() as session:
        client.log(body=given)
    assert [log["session_id"] for log in sent_by(sessions_api)] == [session.id, "own"]
    assert "session_id" not in given[0]


@pytest.mark.parametrize("name", ["log", "alog"])
def test_an_open_datapoint_is_the_parent(
    name: str, api_url: str, served_client: Any, served_manager: SessionManager
) -> None:
    with served_manager.session() as session:
        with served_manager.datapoint(source="answer") as outer:
            log = call(served_client, name)
        beside = call(served_client, name)
    assert log["session_id"] == beside["session_id"] == session.id
    assert stored_parent(api_url, log)["reference_id"] == outer.reference_id
    assert "parent_id" not in stored(api_url, beside)


@pytest.mark.parametrize("name", KINDS)
def test_of_each_call(name: str, client: Any, manager: SessionManager, sessions_api: SessionsAPI) -> None:
    instrument(client)
    with manager.session(), manager.datapoint(project="support") as outer:
        call(client, name)
    bodies = [json.loads(request.body) for request in sessions_api.requests if request.body]
    (body,) = (body for body in bodies if isinstance(body, dict))
    assert body["parent_reference_id"] == outer.reference_id


@pytest.mark.parametrize("name", KINDS)
def test_the_parent_is_stored_before_the_call_is_made(
    name: str, client: Any, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    is_made, order = threading.Event(), []

    def answer(request: Request) -> Answer:
        if request.body.startswith(b"["):
            is_made.wait(0.2)  # which it is not, however long that is waited for
            order.append("parent")
        elif request.body:
            order.append("call")
            is_made.set()
        return answer_all(request)

    sessions_api.answer = answer
    instrument(client)
    with manager.session(), manager.datapoint(project="support"):
        call(client, name)
        assert order == ["parent", "call"]


@pytest.mark.parametrize("name", KINDS)
def test_nobody_waits_for_a_parent_that_is_not_named(
    name: str, client: Any, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    go_on = threading.Event()

    def answer(request: Request) -> Answer:
        assert not request.body.startswith(b"[") or go_on.wait(PATIENCE)
        return answer_all(request)

    sessions_api.answer = answer
    instrument(client)
    with manager.session(), manager.datapoint(project="support"):
        begun = monotonic()
        call(client, name, parent_reference_id="own")
        assert monotonic() - begun < PATIENCE
        go_on.set()


def test_that_of_another_process_too(
    api_url: str, served_client: Any, served_manager: SessionManager
) -> None:
    with served_manager.session(), served_manager.datapoint(source="answer") as outer:
        data = carry()
        served_manager.flush(PATIENCE)
    with carried(data, served_manager):
        log = call(served_client, "log")
    assert stored_parent(api_url, log)["reference_id"] == outer.reference_id


def test_a_parent_of_the_callers_own_stays(
    api_url: str, served_client: Any, served_manager: SessionManager
) -> None:
    with served_manager.session():
        parents = [call(served_client, "log", reference_id=f"{id(served_client)} {n}") for n in range(2)]
        with served_manager.datapoint(source="answer"):
            by_id = call(served_client, "log", parent_id=parents[0]["id"])
            by_reference = call(served_client, "log", parent_reference_id=f"{id(served_client)} 1")
    assert stored(api_url, by_id)["parent_id"] == parents[0]["id"]
    assert stored(api_url, by_reference)["parent_id"] == parents[1]["id"]


def test_the_session_may_be_named_though_it_is_the_current_one(
    api_url: str, served_client: Any, served_manager: SessionManager, records: list[logging.LogRecord]
) -> None:
    """As before the client was instrumented. In another session the datapoint would be no parent."""
    with served_manager.session(new=True) as other:
        call(served_client, "log")
    with served_manager.session() as session, served_manager.datapoint(source="answer") as outer:
        log = call(served_client, "log", session_id=session.id)
        elsewhere = call(served_client, "log", session_id=other.id)
    assert stored_parent(api_url, log)["reference_id"] == outer.reference_id
    assert "parent_id" not in stored(api_url, elsewhere)
    assert [record for record in records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("name", ["log", "alog"])
def test_a_parent_that_is_not_kept_costs_nobody_the_call(
    name: str, api_url: str, served_client: Any, records: list[logging.LogRecord]
) -> None:
    with SessionManager(api_url, sample=0.0) as manager, manager.session() as session:
        with manager.datapoint(project="support"):
            log = call(served_client, name)
        assert log["session_id"] == session.id
    assert "parent_id" not in stored(api_url, log)


def test_a_parent_in_another_session_keeps_its_children(
    api_url: str, served_client: Any, served_manager: SessionManager
) -> None:
    """The API takes their session from their parent."""
    with served_manager.session(new=True):
        parent = call(served_client, "log")
    with served_manager.session(new=True):
        child = call(served_client, "log", parent_id=parent["id"])
    assert child["session_id"] == parent["session_id"]
    assert stored(api_url, child)["parent_id"] == parent["id"]


def test_a_session_of_another_server_is_left_out_and_reported_once(
    served_client: Any,
    manager: SessionManager,
    records: list[logging.LogRecord],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hl_sessions.integrations.humanloop._warnings", Seldom())
    with manager.session():
        logs = [call(served_client, "log"), call(served_client, "alog")]
    assert [log["id"][:5] for log in logs] == ["data_"] * 2
    assert [log.get("session_id") for log in logs] == [None] * 2
    (warning,) = (record.getMessage() for record in records if record.levelno == logging.WARNING)
    assert warning.startswith("the API refuses the session that was added to a call of the humanloop client;")


@pytest.mark.parametrize(("status", "field"), [(422, "inputs"), (500, "session_id")])
@pytest.mark.parametrize("name", KINDS)
def test_what_fails_for_another_reason_is_not_tried_again(
    name: str, status: int, field: str, *, client: Any, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    detail = [{"loc": ["body", field], "msg": "not these", "type": "value_error"}]
    sessions_api.answer = lambda request: (
        answer_all(request) if request.target.endswith("/sessions") else Answer(status, {"detail": detail})
    )
    instrument(client)
    with manager.session(), pytest.raises(OpenApiException, match="not these"):
        call(client, name)
    assert sent_by(sessions_api)["session_id"]


@pytest.mark.parametrize("name", ["log", "alog"])
def test_during_an_outage_nobody_waits_for_the_parent_to_be_sent(
    name: str,
    client: Any,
    make_manager: Callable[..., SessionManager],
    sessions_api: SessionsAPI,
    records: list[logging.LogRecord],
) -> None:
    manager = make_manager(timeout=PATIENCE)
    instrument(client)
    with manager.session() as session:
        assert session.id
        sessions_api.answer = fail()
        with manager.datapoint(project="support"):
            wait_until(lambda: any("datapoints wait" in record.getMessage() for record in records))
            begun = monotonic()
            with pytest.raises(OpenApiException):
                call(client, name)
            assert monotonic() - begun < PATIENCE
        sessions_api.answer = answer_all


def test_what_is_undone_is_as_before(client: Any) -> None:
    def attributes() -> list[tuple[str, Any]]:
        parts = [client, *vars(client).values()]
        parts += [part.raw for part in parts if hasattr(part, "raw")]
        return [(name, getattr(part, name)) for part in parts for name in dir(part) if name[:2] != "__"]

    def contents() -> list[dict[str, Any]]:
        return [vars(part).copy() for part in vars(client).values()]

    before = attributes(), contents()
    signatures = [inspect.signature(getattr(client, name)) for name in CALLS]
    instrument(instrument(client))
    assert (attributes(), contents()) != before
    assert [inspect.signature(getattr(client, name)) for name in CALLS] == signatures
    assert uninstrument(client) is client
    assert (attributes(), contents()) == before
    assert uninstrument(client) is client
    assert (attributes(), contents()) == before


def test_so_is_what_another_one_has_put_there(
    client: Any, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    part = getattr(client.logs, "raw", client.logs)
    send, sent = part._log_oapg, []

    def listen(**options: Any) -> Any:
        sent.append(options["body"]["session_id"])
        return send(**options)

    part._log_oapg = listen
    instrument(client)
    with manager.session() as session:
        call(client, "log")
    assert sent == [session.id]
    uninstrument(client)
    assert part._log_oapg is listen


@pytest.mark.parametrize("function", [instrument, uninstrument])
def test_another_client_is_refused(function: Callable[[Any], Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"client must be .*, not Session: instrument\(Humanloop"):
        function(requests.Session())


def test_what_the_page_shows(api_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "logs-and-traces.md").read_text()
    section = page.partition("## The vendor's SDK")[2].partition("\n## ")[0]
    (code,) = re.findall(r"^```python\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    monkeypatch.setenv("HL_SESSIONS_BASE_URL", api_url)
    names: dict[str, Any] = {"__name__": "block"}
    exec(compile(code.replace("http://127.0.0.1:8642/v4", api_url), "page", "exec"), names)
    names["answer"]("Why?")
    assert flush(PATIENCE)
    (project,) = requests.get(f"{api_url}/projects", timeout=PATIENCE).json()["records"]
    sessions = requests.get(f"{api_url}/sessions", {"project_id": project["id"]}, timeout=PATIENCE).json()
    assert sessions["records"][0]["datapoints_count"] == 2
