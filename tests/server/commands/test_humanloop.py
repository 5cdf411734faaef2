"""Data that was saved at Humanloop is imported, and data of this server is exported for other platforms."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import select

from hl_sessions.server.commands.data import export_data, import_data
from hl_sessions.server.database.tables import session_totals, sessions
from tests.commands import LINE, done, exported, run
from tests.humanloop_exports import (
    FILES,
    SECRET,
    answer,
    judgment,
    log,
    trace,
    write_export,
    write_file,
    write_lines,
)
from tests.memory import memory_of
from tests.servers import opened_database, served
from tests.waiting import PATIENCE


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of an export."""
    return tmp_path / "exports" / "20250605-120000"


def imported(database: str, folder: Path, *options: str) -> str:
    """Run an import that succeeds, and return its messages."""
    return done(import_data, "--from", "humanloop", "--db", database, *options, str(folder)).stderr


def by_reference(database: str) -> dict[str, dict[str, Any]]:
    """Return the datapoints of a database by their original IDs."""
    records = [record for record in exported(database) if record["record"] == "logs"]
    return {record["reference_id"]: record for record in records}


def write(folder: Path, **logs: Sequence[Any]) -> None:
    """Write an export with these logs of the files."""
    for kind, of_kind in logs.items():
        write_lines(write_file(folder, kind) / "logs", of_kind)


def test_a_trace_becomes_a_session(database: str, folder: Path) -> None:
    """Each log is imported once, with its parent, into the project of its file, without secrets."""
    write_export(folder, 2)
    said = imported(database, folder)
    assert "Imported: projects 5, sessions 2, datapoints 8, judgments 2;" in said
    logs = by_reference(database)
    names = ("log_flow_0", "log_search_0", "log_judgment_0", "own-0")
    assert logs.keys() == {name.replace("0", number) for name in names for number in "01"}
    flow, called, searched = logs["log_flow_1"], logs["own-1"], logs["log_search_1"]
    assert flow["session_id"] == called["session_id"] == searched["session_id"]
    assert (called["parent_id"], searched["parent_id"]) == (flow["id"], called["id"])
    assert "parent_id" not in flow
    assert "session_id" not in logs["log_judgment_1"]
    records = exported(database)
    assert SECRET not in json.dumps(records)
    assert {record["name"] for record in records if record["record"] == "projects"} == {
        f"Support/{kind}" for kind in FILES
    }
    given = next(record for record in records if record["record"] == "feedback")
    assert (given["type"], given["value"]) == ("Support/evaluator", True)
    assert given["log_id"] in {called["id"], logs["own-0"]["id"]}


def test_all_of_a_log_is_kept(tmp_path: Path, folder: Path) -> None:
    """Fields without a column are in its metadata, and the version of its file is its config."""
    database = str(tmp_path / "database.sqlite3")
    write_export(folder, 1)
    imported(database, folder)
    with served(database) as url:
        found = requests.get(f"{url}/sessions", timeout=PATIENCE).json()["records"][0]
        assert found["reference_id"] == "log_flow_0"
        assert found["created_at"] == "2025-06-05T12:00:00.250000Z"
        assert found["datapoints_count"] == 3
        id_ = by_reference(database)["own-0"]["id"]
        one = requests.get(f"{url}/logs/{id_}", timeout=PATIENCE).json()
    assert one["created_at"] == "2025-06-05T12:00:00.250000Z"
    assert one["duration"] == 1.5
    assert one["inputs"] == {"question": "Why?"}
    assert one["messages"] == [{"role": "user", "content": "Why?"}]
    assert one["output"] == "the output of log_answer_0"
    assert one["output_message"] == {"role": "assistant", "content": "Because."}
    assert (one["prompt_tokens"], one["output_tokens"]) == (12, 3)
    assert (one["prompt_cost"], one["output_cost"]) == (0.25, 0.5)
    assert (one["source"], one["environment"]) == ("sdk", "production")
    assert one["provider_request"] == {"model": "gpt-4o", "headers": {}}
    assert one["provider_response"] == {"id": "chatcmpl-1"}
    assert one["metadata"] == {
        "tenant": "acme",
        "humanloop": {
            "id": "log_answer_0",
            "created_at": "2025-06-05T12:00:09Z",
            "trace_parent_id": "log_flow_0",
            "trace_flow_id": "fl_support",
            "reasoning_tokens": 2,
            "provider_latency": 1.25,
            "finish_reason": "stop",
            "tool_choice": "auto",
            "log_status": "complete",
            "batches": ["batch_1"],
            "user": "user-7",
        },
    }
    config = one["config"]
    assert one["config_id"] == config["id"] == "prv_1"
    assert (config["type"], config["model"], config["provider"]) == ("model", "gpt-4o", "openai")
    assert config["chat_template"] == [{"role": "system", "content": "Answer {{question}}."}]
    assert (config["temperature"], config["max_tokens"], config["name"]) == (0.5, 256, "second try")
    assert config["tools"][0]["name"] == "search"
    assert config["other"] == {"attributes": {"team": "support"}, "reasoning_effort": "low"}


def test_what_does_not_fit_a_column_is_kept_beside_the_rest(tmp_path: Path, folder: Path) -> None:
    """Also values of types that the API does not allow, and a version that no config can hold."""
    odd = answer("log_odd", new={"field": 1, "api-key": SECRET}) | {
        "prompt_tokens": -1,
        "output_message": {"role": "assistant", "provider_api_keys": {"openai": SECRET}},
        "inputs": "a text",
        "metadata": {"humanloop": "mine"},
        "prompt": {"id": "pr_answer", "path": "Support/prompt", "template": "no model"},
        "start_time": None,
        "end_time": "once",
    }
    write(folder, prompt=[odd])
    database = str(tmp_path / "database.sqlite3")
    imported(database, folder)
    found = by_reference(database)["log_odd"]
    rest = found["metadata"]["humanloop"]
    assert found["created_at"] == "2025-06-05T12:00:09Z"
    assert found["config"]["type"] == "generic"
    assert not found.keys() & {"prompt_tokens", "inputs", "duration"}
    assert (rest["prompt_tokens"], rest["inputs"], rest["end_time"]) == (-1, "a text", "once")
    assert rest["new"] == {"field": 1}
    assert rest["metadata"] == {"humanloop": "mine"}
    assert SECRET not in json.dumps(found)
    assert rest["prompt"] == {"template": "no model"}


def test_a_second_import_adds_nothing(tmp_path: Path, folder: Path) -> None:
    """Existing records stay as they are. Another organisation gets records of its own."""
    database = str(tmp_path / "database.sqlite3")
    write_export(folder, 2)
    imported(database, folder)
    before = exported(database)
    assert "Imported: projects 0, sessions 0, datapoints 0, judgments 0;" in imported(database, folder)
    assert exported(database) == before
    said = imported(database, folder, "--organisation", "others")
    assert "Imported: projects 5, sessions 2, datapoints 8, judgments 2;" in said
    ids = [record["id"] for record in exported(database) if record["record"] == "logs"]
    assert len(ids) == len(set(ids)) == 16


def test_an_import_goes_on_after_an_interruption(database: str, tmp_path: Path) -> None:
    """Logs that were imported without their parent, and judgments without their log, are corrected."""
    flow, [prompt, tool, judged] = trace(0)
    part, whole = tmp_path / "part", tmp_path / "whole"
    write(part, tool=[tool], evaluator=[judged])
    said = imported(database, part)
    assert "datapoints 2, judgments 0" in said
    assert "their parents are in no file: datapoints 1\n" in said
    assert "their datapoints are in no file: judgments 1\n" in said
    write(whole, tool=[tool], prompt=[prompt], flow=[flow], evaluator=[judged])
    assert "datapoints 2, judgments 1" in imported(database, whole)
    logs = by_reference(database)
    assert logs["log_search_0"]["parent_id"] == logs["own-0"]["id"]
    assert logs["own-0"]["parent_id"] == logs["log_flow_0"]["id"]
    assert sum(record["record"] == "sessions" for record in exported(database)) == 1


def test_parents_may_come_late_or_never(database: str, folder: Path) -> None:
    """Logs are nested if their parent is in any file, and never in a circle.

    The session began with the earliest of them.
    """
    of_trace = {"trace_id": "log_lost"}
    prompts = [
        answer("log_under_tool", trace_parent_id="log_tool", **of_trace),
        answer("log_under_lost", trace_parent_id="log_lost", **of_trace),
        answer("log_elsewhere", trace_parent_id="log_tool", trace_id="another"),
        answer("log_one", trace_parent_id="log_other", **of_trace),
    ]
    tools = [
        log("tool", "log_tool", trace_parent_id="log_under_lost", **of_trace),
        log("tool", "log_other", trace_parent_id="log_one", **of_trace),
        log("tool", "log_itself", trace_parent_id="log_itself", **of_trace),
        log("tool", "log_first", start_time="2025-06-05T11:59:00Z", **of_trace),
    ]
    write(folder, tool=tools, prompt=prompts)
    said = imported(database, folder)
    logs = by_reference(database)
    above = {name: one["parent_id"] for name, one in logs.items() if "parent_id" in one}
    ids = {one["id"]: name for name, one in logs.items()}
    assert {name: ids[id_] for name, id_ in above.items()} == {
        "log_under_tool": "log_tool",
        "log_tool": "log_under_lost",
        "log_other": "log_one",
    }
    assert "Not nested" in said
    [session] = [one for one in exported(database) if one.get("reference_id") == "log_lost"]
    assert session["created_at"] == "2025-06-05T11:59:00Z"
    with opened_database(database) as opened:
        totals = select(session_totals.c.began_at, session_totals.c.datapoints).join(sessions)
        of_session = totals.where(sessions.c.id == session["id"])
        assert opened.read_now(lambda connection: connection.execute(of_session).one()) == (1749124740, 7)


def test_judgments_of_evaluations_and_of_people_are_feedback(tmp_path: Path, folder: Path) -> None:
    """One that is in several places is imported once; it may have any type that a judgment may have."""
    values = [0.75, "good", ["kind", "short"], False]
    judged = [judgment(f"log_j{n}", "log_a", value, user="ada") for n, value in enumerate(values)]
    file = write_file(folder, "prompt")
    write_lines(file / "logs", [answer("log_a", evaluator_logs=judged[:2])])
    evaluation = file / "evaluations" / "evr_1"
    line = {"run_id": "run_1", "datapoint": None, "log": answer("log_a"), "evaluator_logs": judged[1:]}
    write_lines(evaluation / "logs", [line])
    (evaluation / "evaluation.json").write_text("{}")
    write(folder, evaluator=judged)
    database = str(tmp_path / "database.sqlite3")
    said = imported(database, folder)
    assert "datapoints 5, judgments 4" in said
    assert "Not kept: evaluations' runs and statistics 1" in said
    given = [record for record in exported(database) if record["record"] == "feedback"]
    assert [(one["value"], one["user"]) for one in given] == [(value, "ada") for value in values]


def test_what_is_broken_is_said_and_the_rest_comes_in(tmp_path: Path, folder: Path) -> None:
    """Each problem with its file and line. The command counts them, and exits with 1."""
    write_export(folder, 2)
    prompts = folder / "files" / FILES["prompt"]
    lines = prompts / "logs" / "1.jsonl"
    lines.write_text(lines.read_text() + '[]\n{"id": "log_x"}\n\n{"id": "log_cut", "prom')
    (prompts / "file.json").write_text("{")
    (folder / "files" / FILES["agent"] / "file.json").write_text('{"type": ["agent"]}')
    (folder / "files" / FILES["tool"] / ".done").unlink()
    database = str(tmp_path / "database.sqlite3")
    result = run(import_data, "--from", "humanloop", "--db", database, str(folder))
    assert result.exit_code == 1
    assert f"{prompts / 'file.json'}: this is not JSON" in result.stderr
    assert "file.json: its project has no name" in result.stderr
    assert f"{lines}, line 3: this is no JSON object" in result.stderr
    assert f"{lines}, line 4: this is no log" in result.stderr
    assert f"{lines}, line 6: this is not JSON" in result.stderr
    assert f"{FILES['tool']}: this file was not exported to its end" in result.stderr
    assert result.stderr.endswith("5 entries, listed above, could not be read; all others are imported\n")
    assert len(by_reference(database)) == 8


def test_a_dry_run_says_what_there_is(tmp_path: Path, folder: Path) -> None:
    """It also says what has no place here, and imports nothing."""
    write_export(folder, 2)
    write_lines(folder / "files" / "ds_1" / "datapoints" / "dsv_1", [{"id": "dp_1"}])
    (folder / "files" / "ds_1" / "file.json").write_text('{"type": "dataset", "path": "d"}')
    (folder / "files" / "ds_1" / ".done").touch()
    database = tmp_path / "database.sqlite3"
    said = imported(str(database), folder, "--dry-run")
    assert said == (
        "There are: projects 5, sessions 2, datapoints 8, judgments 2\n"
        "Not kept: versions without a datapoint 1, datasets 1, files' deployments to environments 5\n"
    )
    assert not database.exists()


@pytest.mark.slow
def test_files_of_any_length_are_read(tmp_path: Path, folder: Path) -> None:
    """The tool wrote 1,001 logs into the first file and 1,000 into others; the oldest ones come first."""
    write(folder, tool=[log("tool", f"log_{number}") for number in range(2003)])
    counts = [len(path.read_text().splitlines()) for path in sorted(folder.glob("files/*/logs/*"))]
    assert counts == [1001, 1000, 2]
    database = str(tmp_path / "database.sqlite3")
    assert "projects 1, sessions 2,003, datapoints 2,003" in imported(database, folder)
    assert list(by_reference(database))[:2] == ["log_2001", "log_2002"]


@pytest.mark.slow
def test_memory_does_not_grow_with_an_export(tmp_path: Path) -> None:
    used = []
    for traces in (250, 5000):
        folder, database = tmp_path / str(traces), tmp_path / f"{traces}.sqlite3"
        write_export(folder, traces)
        used.append(memory_of("import", "--from", "humanloop", "--db", database, folder))
    assert used[1] - used[0] < 20_000_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from", "humanloop", "."], "there is no folder 'files' in it"),
        (["--from", "humanloop", ".", "."], "give one path with --from humanloop, rather than 2"),
        (["."], "for a folder of Humanloop's tool, give --from humanloop"),
        (["--from", "humanloop-v4", "-"], "with --from humanloop-v4, give a path rather than '-'"),
        (["--dry-run", "-"], "--dry-run is for data of Humanloop only"),
        (["--from", "langfuse", "-"], "'langfuse' is not one of"),
        (["--from", "humanloop-v4", "no-such-file"], "'no-such-file' does not exist"),
        (["no-such-file"], "'no-such-file' does not exist"),
    ],
)
def test_what_cannot_be_imported_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    """The command explains what it accepts."""
    monkeypatch.chdir(tmp_path)
    result = run(import_data, "--db", "database.sqlite3", *arguments)
    assert result.exit_code in {1, 2}
    assert message in result.stderr


@pytest.fixture
def saved(tmp_path: Path) -> tuple[list[str], dict[str, Any]]:
    """Saved pages of a server, datapoints first, and the server's answer for each datapoint and session."""
    with served(tmp_path / "first.sqlite3") as url:

        def get(path: str) -> Any:
            answer = requests.get(f"{url}/{path}", timeout=PATIENCE)
            answer.raise_for_status()
            return answer.json()

        told: Any = {"reference_id": "chat 1", "name": "A chat", "user": "ada", "metadata": {"n": 1}}
        session = requests.post(f"{url}/sessions", json=told, timeout=PATIENCE).json()["id"]
        later: Any = {"previous_id": session}
        requests.post(f"{url}/sessions", json=later, timeout=PATIENCE).raise_for_status()
        outer: Any = {
            "project": "support",
            "session_id": session,
            "reference_id": "outer",
            "inputs": {"text": "Why?"},
            "output": "Because.",
            "duration": 0.5,
            "config": {"type": "model", "model": "gpt-4o", "new": True},
            "feedback": [{"type": "rating", "value": "good", "user": "ada"}],
            "created_at": "2025-06-05T12:00:00.250000+02:00",
        }
        inner = {"project": "support", "session_id": session, "parent_reference_id": "outer"}
        alone: Any = {"project": "moderation", "error": "no", "save": False}
        requests.post(f"{url}/logs", json=[outer, inner, alone], timeout=PATIENCE).raise_for_status()
        pages = {"projects": get("projects"), "sessions": get("sessions")}
        for project in pages["projects"]["records"]:
            pages[project["name"]] = get(f"logs?project_id={project['id']}")
        answers = {
            record["id"]: get(f"{kind}/{record['id']}")
            for name, page in pages.items()
            for record in page["records"]
            for kind in ["logs" if name in {"support", "moderation"} else name]
        }
    files = []
    for name in ("support", "moderation", "sessions", "projects"):
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps(pages[name], indent=1))
        files.append(str(file))
    return files, answers


def test_saved_pages_are_imported(database: str, saved: tuple[list[str], dict[str, Any]]) -> None:
    """All records are the same, with the same IDs. A second import adds nothing."""
    files, answers = saved
    said = done(import_data, "--from", "humanloop-v4", "--db", database, *files).stderr
    assert "Imported: projects 2, sessions 2, datapoints 3, judgments 1;" in said
    with served(database) as url:
        for id_, before in answers.items():
            kind = {"sesh": "sessions", "pr": "projects", "data": "logs"}[id_.partition("_")[0]]
            now = requests.get(f"{url}/{kind}/{id_}", timeout=PATIENCE).json()
            changed = {name for name in now.keys() | before.keys() if now.get(name) != before.get(name)}
            assert changed <= {"updated_at", "team_id", "users"}
    said = done(import_data, "--from", "humanloop-v4", "--db", database, *files).stderr
    assert "Imported: projects 0, sessions 0, datapoints 0, judgments 0;" in said


def test_pages_of_another_organisation_are_refused(
    tmp_path: Path, saved: tuple[list[str], dict[str, Any]]
) -> None:
    """Their IDs already exist, and no record changes its owner."""
    files, _ = saved
    arguments = ("--from", "humanloop-v4", "--db", str(tmp_path / "second.sqlite3"))
    done(import_data, *arguments, *files)
    before = exported(str(tmp_path / "second.sqlite3"))
    result = run(import_data, *arguments, "--organisation", "others", *files)
    assert result.exit_code == 1
    assert "another organisation has records with these IDs" in result.stderr
    after = [
        record
        for record in exported(str(tmp_path / "second.sqlite3"))
        if "others" not in {record.get("organisation"), record.get("name")}
    ]
    assert after == before


def test_pages_that_are_none_are_said(tmp_path: Path, saved: tuple[list[str], dict[str, Any]]) -> None:
    """With the file and the number of the record. All others are imported."""
    files, _ = saved
    broken, odd = tmp_path / "broken.json", tmp_path / "odd.json"
    broken.write_text('{"records": [')
    odd.write_text('{"records": [{"id": "sesh_1", "created_at": "2025-06-05T12:00:00Z"}, 5, {"id": "x"}]}')
    database = str(tmp_path / "second.sqlite3")
    result = run(import_data, "--from", "humanloop-v4", "--db", database, *files, str(broken), str(odd))
    assert result.exit_code == 1
    assert f"{broken}: this is not JSON" in result.stderr
    assert f"{odd}, record 2: a record has no 'id'" in result.stderr
    assert f"{odd}, record 3: a record is neither" in result.stderr
    assert "projects 2, sessions 3, datapoints 3" in result.stderr
    assert result.stderr.endswith("3 entries, listed above, could not be read; all others are imported\n")


def test_datapoints_are_exported_as_spans(tmp_path: Path, folder: Path) -> None:
    """A session is a trace, in OTLP's encoding of JSON, with the names of the conventions."""
    database = str(tmp_path / "database.sqlite3")
    flow, others = trace(0)
    failed = log("tool", "log_failed", output=None, error="no such index")
    write(folder, flow=[flow], prompt=others[:1], tool=[failed], evaluator=others[2:])
    imported(database, folder)
    lines = LINE.findall(done(export_data, "--format", "otlp-json", "--db", database).stdout)
    spans = {}
    for resource in (resource for line in lines for resource in json.loads(line)["resourceSpans"]):
        project = plain(resource["resource"]["attributes"])["service.name"]
        for span in (span for scope in resource["scopeSpans"] for span in scope["spans"]):
            attributes = plain(span["attributes"])
            spans[attributes["hl_sessions.reference_id"]] = (project, span, attributes)
    assert len(spans) == 5
    (_, root, _), (project, called, attributes) = spans["log_flow_0"], spans["own-0"]
    assert project == "Support/prompt"
    assert root["traceId"] == called["traceId"] == spans["log_search_0"][1]["traceId"]
    assert root["traceId"] != spans["log_failed"][1]["traceId"]
    assert len(bytes.fromhex(called["traceId"])) == 16
    assert len(bytes.fromhex(called["spanId"])) == 8
    assert "parentSpanId" not in root
    assert called["parentSpanId"] == root["spanId"]
    assert spans["log_search_0"][1]["parentSpanId"] == called["spanId"]
    assert called["startTimeUnixNano"] == "1749124800250000000"
    assert called["endTimeUnixNano"] == "1749124801750000000"
    assert called["name"] == "chat gpt-4o"
    logs = by_reference(database)
    expected = {
        "session.id": logs["own-0"]["session_id"],
        "user.id": "user-7",
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": "256",
        "gen_ai.usage.input_tokens": "12",
        "gen_ai.usage.output_tokens": "3",
    }
    assert {name: attributes.get(name) for name in expected} == expected
    assert json.loads(attributes["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": "Why?"}]}
    ]
    [event] = called["events"]
    assert event["name"] == "gen_ai.evaluation.result"
    assert plain(event["attributes"]) == {
        "gen_ai.evaluation.name": "Support/evaluator",
        "gen_ai.evaluation.score.label": "true",
    }
    assert spans["log_failed"][1]["status"] == {"code": 2, "message": "no such index"}
    assert spans["log_failed"][1]["name"] == "execute_tool search"


def test_spans_end_within_the_times_that_a_reader_has_bits_for(tmp_path: Path) -> None:
    """Also those of a datapoint that was logged for a year of which OTLP has no nanoseconds."""
    database = str(tmp_path / "database.sqlite3")
    with served(database) as url:
        late: Any = {"project": "late", "created_at": "9999-12-31T00:00:00Z", "duration": 2}
        requests.post(f"{url}/logs", json=late, timeout=PATIENCE).raise_for_status()
    line = done(export_data, "--format", "otlp-json", "--db", database).stdout
    (span,) = json.loads(line)["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert 0 <= int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"]) < 2**63


def plain(attributes: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the values of attributes, each of which is in a field named like its type."""
    return {one["key"]: next(iter(one["value"].values())) for one in attributes}
