import json
import re
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.servers import served
from tests.waiting import PATIENCE

EVERYTHING: dict[str, Any] = {
    "inputs": {"question": "Why?", "nested": {"list": [1, None, "ü"]}},
    "messages": [
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f"}}]},
    ],
    "output": "Because",
    "output_message": {"role": "assistant", "content": [{"type": "text", "text": "Because"}]},
    "judgment": ["good", "short"],
    "error": "late",
    "stdout": "debug",
    "provider_request": {"model": "gpt"},
    "provider_response": {"choices": []},
    "source": "test",
    "source_datapoint_id": "evtc_1",
    "environment": "production",
    "metadata": {"user": 7},
    "duration": 1.25,
    "prompt_tokens": 3,
    "output_tokens": 2**40,
    "prompt_cost": 0.01,
    "output_cost": 0.0,
    "created_at": "2025-09-08T12:00:00Z",
    "config": {"type": "model", "model": "gpt", "temperature": 0.5, "other": {"a": None}},
}
PAYLOADS = {
    "inputs",
    "messages",
    "output",
    "output_message",
    "judgment",
    "error",
    "stdout",
    "provider_request",
    "provider_response",
}


def test_a_log_comes_back_as_it_was_logged(client: Any, unique: str) -> None:
    """Every documented field is kept, and unknown ones are dropped."""
    created = client.log(project=unique, reference_id=unique, unknown="field", **EVERYTHING)
    assert created.keys() == {"id", "project_id"}
    assert re.fullmatch(r"data_[A-Za-z0-9_-]{20,}", created["id"])
    assert re.fullmatch(r"pr_[A-Za-z0-9_-]{20,}", created["project_id"])
    log = client.ok("GET", f"/logs/{created['id']}")
    assert re.fullmatch(r"config_[A-Za-z0-9_-]{20,}", log["config"].pop("id"))
    assert log.pop("updated_at")
    assert log == {
        **EVERYTHING,
        **created,
        "project": unique,
        "reference_id": unique,
        "save": True,
        "evaluation_results": [],
        "observability_status": "completed",
    }


def test_a_log_with_nothing_but_a_project_has_no_nulls(client: Any, unique: str) -> None:
    """Fields that were null are left out. A missing config is answered as a generic one."""
    log_id = client.log(project=unique, output=None, inputs=None, session_id=None)["id"]
    log = client.ok("GET", f"/logs/{log_id}")
    assert "null" not in json.dumps(log)
    assert log.keys() == {
        *("id", "project", "project_id", "config", "save", "created_at", "updated_at"),
        *("evaluation_results", "observability_status"),
    }
    assert log["config"] == {
        "id": log["config"]["id"],
        "type": "generic",
        "name": "generic",
        "status": "uncommitted",
    }


@pytest.mark.parametrize(
    "config",
    [
        {"type": "tool", "name": "search"},
        {"type": "agent", "agent_class": "Agent", "model_config": {"type": "model", "model": "gpt"}},
        {"type": "generic", "other": {"k": 1}, "description": None},
    ],
    ids=lambda config: config["type"],
)
def test_a_config_gets_what_the_protocol_requires_of_its_type(
    client: Any, unique: str, config: dict[str, Any]
) -> None:
    """A tool, agent or generic config is answered with an ID, a name and a status."""
    log_id = client.log(project=unique, config=config, config_id="config_given")["id"]
    answered = client.ok("GET", f"/logs/{log_id}")["config"]
    described = {"id": "config_given", "name": config["type"], "status": "uncommitted", **config}
    assert answered == {name: value for name, value in described.items() if value is not None}


def test_configs_that_are_alike_are_told_apart(client: Any, unique: str) -> None:
    """Each is answered as it was sent, with an ID of its own. A wrong one is refused each time."""
    configs = [{"model": "m", "temperature": number} for number in (1, 1.0, 0, -0.0, 1)]
    created = client.ok("POST", "/logs", json=[{"project": unique, "config": config} for config in configs])
    answered = [client.ok("GET", f"/logs/{log['id']}")["config"] for log in created]
    assert len({config["id"] for config in answered}) == len(configs)
    assert [json.dumps(config["temperature"]) for config in answered] == ["1", "1.0", "0", "-0.0", "1"]
    wrong = {"project": unique, "config": {"model": 1}}
    good = {"project": unique, "config": {"model": "1"}}
    for logs in ([good, wrong], [good, good, wrong]):
        [detail] = client("POST", "/logs", json=logs).json()["detail"]
        assert detail["loc"] == ["body", len(logs) - 1, "config", "model", "model"]


@pytest.mark.parametrize(
    "given", [{"type": "rating", "value": "good"}, [{"type": "rating", "value": "good"}]]
)
def test_feedback_gets_an_id(client: Any, unique: str, given: Any) -> None:
    """One feedback or a list of them comes back as a list."""
    log_id = client.log(project=unique, feedback=given)["id"]
    [feedback] = client.ok("GET", f"/logs/{log_id}")["feedback"]
    assert re.fullmatch(r"ann_[A-Za-z0-9_-]{20,}", feedback.pop("id"))
    assert feedback.pop("created_at")
    assert feedback == {"type": "rating", "value": "good", "data_id": log_id}


@pytest.mark.parametrize("value", [True, 3, 0.5, ["a", "b"], "text", False])
def test_the_value_of_feedback_keeps_its_type(client: Any, unique: str, value: Any) -> None:
    """A boolean stays a boolean, and a number a number."""
    given = {"type": "mark", "value": value, "user": "me", "created_at": "2025-01-01T00:00:00"}
    log_id = client.log(project=unique, feedback=given)["id"]
    [feedback] = client.ok("GET", f"/logs/{log_id}")["feedback"]
    assert json.dumps(feedback["value"]) == json.dumps(value)
    assert feedback["user"] == "me"
    assert feedback["created_at"] == "2025-01-01T00:00:00Z"


@pytest.mark.parametrize(
    "number",
    [
        *(0, -1, 2**53 + 1, 2**63, -(2**64), 10**400, -(10**400)),
        *(0.1 + 0.2, -0.0, 1.0, 1e22, 5e-324, 1.7976931348623157e308),
    ],
    ids=lambda number: repr(number)[:24],
)
def test_a_number_comes_back_as_it_was_sent(client: Any, unique: str, number: float) -> None:
    """Judgments and values of feedback keep all digits, and can be taken back by them."""
    log_id = client.log(project=unique, judgment=number, feedback={"type": "mark", "value": number})["id"]
    mark = {"data_id": log_id, "type": "mark", "value": number}
    client.ok("POST", "/feedback", json=mark)
    assert client.ok("POST", "/feedback", json={**mark, "unset": True})["value"] == number
    log = client.ok("GET", f"/logs/{log_id}")
    [feedback] = log["feedback"]
    assert [repr(log["judgment"]), repr(feedback["value"])] == [repr(number)] * 2


def test_what_an_earlier_version_made_infinite_is_answered_as_json(tmp_path: Path) -> None:
    """The largest float stands for the lost value."""
    database = tmp_path / "old.sqlite3"
    log: Any = {"project": "p", "judgment": 10**400, "feedback": {"type": "mark", "value": -(10**400)}}
    with served(database) as base_url, requests.Session() as http:
        path = f"{base_url}/logs/{http.post(f'{base_url}/logs', json=log, timeout=PATIENCE).json()['id']}"
        with closing(sqlite3.connect(database)) as connection:
            # Stored as by that version: the column turns a text into a float.
            connection.execute("UPDATE logs SET judgment = CAST(judgment AS TEXT)")
            connection.execute("UPDATE feedback SET value = CAST(value AS TEXT)")
            connection.commit()
        answer = http.get(path, timeout=PATIENCE)
    assert "Infinity" not in answer.text
    assert answer.json()["judgment"] == sys.float_info.max
    assert answer.json()["feedback"][0]["value"] == -sys.float_info.max


def test_without_save_no_payload_is_kept(client: Any, unique: str) -> None:
    """Neither the log nor a later update stores inputs, messages or outputs."""
    session_id = client.new_session()
    created = client.log(project=unique, session_id=session_id, save=False, **EVERYTHING)
    log = client.ok("PATCH", f"/logs/{created['id']}", json={**COMPLETED, "duration": 2})
    assert not PAYLOADS & log.keys()
    assert log["save"] is False
    assert log["duration"] == 2
    assert log["metadata"] == EVERYTHING["metadata"]
    session = client.ok("GET", f"/sessions/{session_id}")
    assert session["datapoints_count"] == 1
    assert not {"first_inputs", "last_output"} & session.keys()


def test_a_project_is_made_on_first_use_and_found_after(client: Any, unique: str) -> None:
    """The name and the ID lead to the same project."""
    project_id = client.log(project=unique)["project_id"]
    assert client.log(project=unique)["project_id"] == project_id
    assert client.log(project_id=project_id)["project_id"] == project_id
    assert client.log(project_id=project_id, project=unique)["project_id"] == project_id
    [project] = [
        p for p in client.ok("GET", "/projects", params={"size": 100})["records"] if p["name"] == unique
    ]
    assert project["id"] == project_id
    assert project["data_count"] == 4
    assert project["team_id"].startswith("tm_")
    assert project["users"] == []
    assert [one["type"] for one in project["feedback_types"]] == ["rating", "note"]


def test_an_unknown_session_reference_makes_a_session_once(client: Any, unique: str) -> None:
    """Datapoints with the same reference end up in one session, in one request and across requests."""
    created = client.ok("POST", "/logs", json=[{"project": unique, "session_reference_id": unique}] * 2)
    session_ids = {log["session_id"] for log in created}
    log = client.log(project=unique, session_reference_id=unique)
    assert session_ids == {log["session_id"]}
    assert client.ok("GET", f"/logs/{log['id']}")["session_reference_id"] == unique
    session = client.ok("GET", f"/sessions/{log['session_id']}")
    assert session["reference_id"] == unique
    assert session["datapoints_count"] == 3


def test_a_datapoint_nests_under_one_of_the_same_session(client: Any, unique: str) -> None:
    """Either ID names a parent, whose session a child without one joins."""
    session_id = client.new_session()
    parent = client.log(project=unique, session_id=session_id, reference_id=unique)
    by_id = client.log(project=unique, parent_id=parent["id"])
    by_reference = client.log(project=unique, session_id=session_id, parent_reference_id=unique)
    assert by_id["session_id"] == by_reference["session_id"] == session_id
    for child in (by_id, by_reference):
        log = client.ok("GET", f"/logs/{child['id']}")
        assert log["parent_id"] == parent["id"]
        assert log["parent_reference_id"] == unique


def test_a_batch_answers_in_its_order(client: Any, unique: str) -> None:
    """The IDs are in the order of their logs."""
    created = client.ok("POST", "/logs", json=[{"project": unique, "output": str(n)} for n in range(20)])
    outputs = [client.ok("GET", f"/logs/{log['id']}")["output"] for log in created]
    assert outputs == [str(n) for n in range(20)]
    assert client.ok("POST", "/logs", json=[]) == []


def test_a_long_batch_is_stored_in_its_order(client: Any, unique: str) -> None:
    """More datapoints than one statement of SQLite has; each has exactly the fields that were sent."""
    sent = [{"output": str(n), **({"stdout": f"line {n}"} if n % 3 else {})} for n in range(130)]
    created = client.ok("POST", "/logs", json=[{"project": unique, **log} for log in sent])
    pages = [
        client.ok("GET", "/logs", params={"project_id": created[0]["project_id"], "page": page, "size": 100})
        for page in (2, 1)
    ]
    stored = [log for page in pages for log in reversed(page["records"])]
    assert [log["id"] for log in stored] == [log["id"] for log in created]
    assert [{name: log[name] for name in ("output", "stdout") if name in log} for log in stored] == sent


def test_logs_are_listed_newest_first(client: Any, unique: str) -> None:
    """By the caller's time, and for equal times by the order of arrival."""
    times = ["2025-01-02T00:00:00Z", "2025-01-01T00:00:00Z", "2025-01-02T00:00:00Z"]
    logs = [{"project": unique, "output": str(n), "created_at": time} for n, time in enumerate(times)]
    project_id = client.ok("POST", "/logs", json=logs)[0]["project_id"]
    first, second = (
        client.ok("GET", "/logs", params={"project_id": project_id, "page": page, "size": 2})
        for page in (1, 2)
    )
    assert [log["output"] for log in first["records"] + second["records"]] == ["2", "0", "1"]
    assert (second["page"], second["size"], second["total"]) == (2, 2, 3)


def test_a_log_is_completed_later(client: Any, unique: str) -> None:
    """An update by ID or by reference changes its fields only, and answers the whole log."""
    session_id = client.new_session()
    created = client.log(project=unique, session_id=session_id, reference_id=unique, inputs={"a": 1})
    before = client.ok("GET", f"/logs/{created['id']}")
    log = client.ok("PATCH", f"/logs/{created['id']}", json={"output": "done", "duration": 3})
    assert log.pop("updated_at") > before.pop("updated_at")
    assert log == {**before, "output": "done", "duration": 3.0}
    log = client.ok("PATCH", "/logs", params={"reference_id": unique}, json={"error": "no", "output": None})
    assert (log["id"], log["output"], log["error"]) == (created["id"], "done", "no")
    session = client.ok("GET", f"/sessions/{session_id}")
    assert session["last_output"] == "done"
    assert session["updated_at"] == log["updated_at"]


def test_an_empty_error_is_none(client: Any, unique: str) -> None:
    """Some callers always send one. An empty one takes an error back."""
    shared = {"project": unique, "session_id": client.new_session()}
    created = client.log(**shared, error="", output="fine")

    def failed() -> int:
        count: int = client.ok("GET", "/sessions", params={"q": f"project:{unique} errors>0"})["total"]
        return count

    logged = client.ok("GET", f"/logs/{created['id']}")
    assert "error" not in logged
    assert failed() == 0
    assert client.ok("PATCH", f"/logs/{created['id']}", json={"error": "late"})["error"] == "late"
    assert failed() == 1
    log = client.ok("PATCH", f"/logs/{created['id']}", json={"error": ""})
    assert log == {**logged, "updated_at": log["updated_at"]}
    assert failed() == 0


COMPLETED = {
    name: value
    for name, value in EVERYTHING.items()
    if name not in {"source", "source_datapoint_id", "environment", "created_at"}
}


def test_a_log_that_was_sent_while_it_was_open_is_completed(client: Any, unique: str) -> None:
    """Any result of its work can be sent later, and replaces the earlier value."""
    created = client.log(project=unique, inputs={"a": 1}, metadata={"a": 1}, config={"model": "old"})
    before = client.ok("GET", f"/logs/{created['id']}")
    log = client.ok("PATCH", f"/logs/{created['id']}", json=COMPLETED)
    assert re.fullmatch(r"config_[A-Za-z0-9_-]{24}", log["config"].pop("id"))
    assert log == {**before, **COMPLETED, "updated_at": log["updated_at"]}
    again = client.ok("PATCH", f"/logs/{created['id']}", json=dict.fromkeys(COMPLETED))
    assert {**again, "config": None} == {**log, "config": None, "updated_at": again["updated_at"]}


def test_a_config_that_is_told_later_has_the_id_that_was_given(client: Any, unique: str) -> None:
    created = client.log(project=unique, config_id="config_given")
    log = client.ok("PATCH", f"/logs/{created['id']}", json={"config": {"type": "tool", "name": "f"}})
    assert log["config"] == {"id": "config_given", "type": "tool", "name": "f", "status": "uncommitted"}


def test_a_list_of_logs_is_completed(client: Any, unique: str) -> None:
    """Each log is named by either ID, gets the fields of its entry, and is answered in its place."""
    session_id = client.new_session()
    logs = [{"project": unique, "session_id": session_id, "reference_id": f"{unique} {n}"} for n in range(4)]
    created = client.ok("POST", "/logs", json=logs)
    before = [client.ok("GET", f"/logs/{log['id']}") for log in created]
    entries = [
        {"id": created[2]["id"], "output": "two", "duration": 2.0},
        {"reference_id": f"{unique} 0", "error": "zero", "metadata": {"n": 0}},
        {"reference_id": f"{unique} 2", "output": "2", "prompt_tokens": 2},
        {"id": created[1]["id"]},
    ]
    answered = client.ok("PATCH", "/logs", json=entries)
    wanted = [
        {**before[2], "output": "2", "duration": 2.0, "prompt_tokens": 2},
        {**before[0], "error": "zero", "metadata": {"n": 0}},
        {**before[2], "output": "2", "duration": 2.0, "prompt_tokens": 2},
        before[1],
    ]
    assert len({log["updated_at"] for log in answered}) == 1
    assert answered[0]["updated_at"] > before[0]["updated_at"]
    assert [{**log, "updated_at": None} for log in answered] == [
        {**log, "updated_at": None} for log in wanted
    ]
    assert [client.ok("GET", f"/logs/{log['id']}") for log in answered] == answered
    assert client.ok("GET", f"/logs/{created[3]['id']}") == before[3]
    assert client.ok("GET", f"/sessions/{session_id}")["updated_at"] == answered[0]["updated_at"]
    assert client.ok("PATCH", "/logs", json=[]) == []


def test_a_list_is_completed_without_an_answer_if_asked(client: Any, unique: str) -> None:
    """The answer may be longer than the caller wants to read."""
    log_id = client.log(project=unique)["id"]
    headers = {"Prefer": "return=minimal"}
    answer = client("PATCH", "/logs", json=[{"id": log_id, "output": "later"}], headers=headers)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["Preference-Applied"] == "return=minimal"
    assert client.ok("GET", f"/logs/{log_id}")["output"] == "later"


def test_a_long_list_of_logs_is_completed(client: Any, unique: str) -> None:
    """The list is longer than one statement allows."""
    created = client.ok("POST", "/logs", json=[{"project": unique}] * 2500)
    entries = [{"id": log["id"], "output": f"{n}"} for n, log in enumerate(created)]
    answered = client.ok("PATCH", "/logs", json=entries)
    assert [(log["id"], log["output"]) for log in answered] == [(log["id"], log["output"]) for log in entries]


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        ({"output": 1}, "output"),
        ({"config": {"type": "model"}}, "config"),
        ({"prompt_tokens": -1}, "prompt_tokens"),
        ({"id": "x"}, "id"),
        ({"reference_id": "both"}, None),
        ({"id": None}, None),
    ],
)
def test_a_list_with_a_bad_entry_changes_nothing(
    client: Any, unique: str, entry: dict[str, Any], field: str | None
) -> None:
    """The 422 names the index of the entry and the field, if it is one."""
    log_id = client.log(project=unique)["id"]
    before = client.ok("GET", f"/logs/{log_id}")
    response = client("PATCH", "/logs", json=[{"id": log_id, "output": "x"}, {"id": log_id, **entry}])
    assert response.status_code == 422
    location = ["body", 1] if field is None else ["body", 1, field]
    assert response.json()["detail"][0]["loc"][:3] == location
    assert client.ok("GET", f"/logs/{log_id}") == before


@pytest.mark.parametrize("name", [{"id": "data_AAAAAAAAAAAAAAAAAAAAAAAA"}, {"reference_id": "nobody's"}])
def test_a_list_with_an_unknown_log_changes_nothing(client: Any, unique: str, name: dict[str, str]) -> None:
    """The 404 names the unknown log, and its index."""
    log_id = client.log(project=unique)["id"]
    before = client.ok("GET", f"/logs/{log_id}")
    response = client("PATCH", "/logs", json=[{"id": log_id, "output": "x"}, {**name, "output": "y"}])
    assert response.status_code == 404
    [unknown] = name.values()
    assert unknown in response.json()["detail"]
    assert "entry 1" in response.json()["detail"]
    assert client.ok("GET", f"/logs/{log_id}") == before


def test_an_address_of_one_log_takes_no_list(client: Any, unique: str) -> None:
    """The entries of a list name their datapoints themselves."""
    created = client.log(project=unique, reference_id=unique)
    entries = [{"id": created["id"], "output": "x"}]
    response = client("PATCH", "/logs", params={"reference_id": unique}, json=entries)
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["query", "reference_id"]
    assert client("PATCH", f"/logs/{created['id']}", json=entries).status_code == 422
    assert "output" not in client.ok("GET", f"/logs/{created['id']}")


def refused_logs(log: Any, session: str) -> dict[str, tuple[dict[str, Any], str | None]]:
    """Return logs that break a rule, by the name of the rule, each with the wrong field."""
    other_parent = log(project="refused", session_reference_id="another session")["id"]
    homeless_parent = log(project="refused")["id"]
    nobody = "A" * 24
    return {
        "no project": ({"project": None}, "project"),
        "empty project": ({"project": ""}, "project"),
        "unknown project": ({"project_id": f"pr_{nobody}", "project": None}, "project_id"),
        "malformed project": ({"project_id": "x"}, "project_id"),
        "unknown session": ({"session_id": f"sesh_{nobody}"}, "session_id"),
        "malformed session": ({"session_id": "x"}, "session_id"),
        "two sessions": ({"session_id": session, "session_reference_id": "x"}, None),
        "unknown parent": ({"parent_id": f"data_{nobody}"}, "parent_id"),
        "unknown parent reference": ({"parent_reference_id": nobody}, "parent_reference_id"),
        "two parents": ({"parent_id": other_parent, "parent_reference_id": "x"}, None),
        "parent of another session": ({"session_id": session, "parent_id": other_parent}, "parent_id"),
        "parent without a session": ({"session_id": session, "parent_id": homeless_parent}, "parent_id"),
        "config with nothing in it": ({"config": {}}, "config"),
        "config of an unknown type": ({"config": {"type": ["model"]}}, "config"),
        "model config without a model": ({"config": {"type": "model"}}, "config"),
        "message that is no object": ({"messages": ["king"]}, "messages"),
        "feedback without a value": ({"feedback": {"type": "rating"}}, "feedback"),
        "number for a text": ({"output": 5}, "output"),
        "text for a number": ({"duration": "5"}, "duration"),
        "boolean for a number": ({"prompt_tokens": True}, "prompt_tokens"),
        "too many tokens": ({"prompt_tokens": 2**63}, "prompt_tokens"),
        "too large a cost": ({"prompt_cost": 10**400}, "prompt_cost"),
        "list for an object": ({"inputs": []}, "inputs"),
        "year 0": ({"created_at": "0000-01-01T00:00:00Z"}, "created_at"),
        "year 10000": ({"created_at": "10000-01-01T00:00:00Z"}, "created_at"),
        "year 10000 in UTC": ({"created_at": "9999-12-31T23:59:59-14:00"}, "created_at"),
        "year 0 in UTC": ({"created_at": "0001-01-01T00:00:00+14:00"}, "created_at"),
        "30 February": ({"created_at": "2025-02-30T00:00:00Z"}, "created_at"),
        "time as a number": ({"created_at": 1736000000}, "created_at"),
        "no time": ({"created_at": "yesterday"}, "created_at"),
    }


def test_a_log_that_breaks_a_rule_is_refused_with_its_place(client: Any) -> None:
    """The 422 names the field, in a batch the index too, and nothing of the batch is stored."""
    for name, (fields, field) in refused_logs(client.log, client.new_session()).items():
        bad = {"project": f"refused: {name}", **fields}
        location = ["body"] if field is None else ["body", field]
        response = client("POST", "/logs", json=bad)
        assert response.status_code == 422, name
        [detail] = response.json()["detail"]
        assert detail.keys() == {"loc", "msg", "type"}, name
        assert detail["loc"][:2] == location, name
        good = {"project": f"refused: {name}", "session_reference_id": f"refused: {name}"}
        response = client("POST", "/logs", json=[good, bad, good])
        assert response.status_code == 422, name
        assert response.json()["detail"][0]["loc"][:3] == ["body", 1, *location[1:]], name
    names = {project["name"] for project in client.ok("GET", "/projects", params={"size": 100})["records"]}
    assert not [name for name in names if name.startswith("refused: ")]


def test_a_reference_id_is_taken_once(client: Any, unique: str) -> None:
    """The second datapoint with a reference ID is refused, in one request and across requests."""
    log = {"project": unique, "reference_id": unique}
    response = client("POST", "/logs", json=[log, log])
    assert response.json()["detail"][0]["loc"] == ["body", 1, "reference_id"]
    assert client.log(**log)
    response = client("POST", "/logs", json=log)
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["body", "reference_id"]


def test_a_parent_may_stand_before_its_child_in_a_list(client: Any, unique: str) -> None:
    """To any depth, in any order of reference IDs. Each child is in the session of its parent."""
    parents = [None, f"{unique} 9", f"{unique} 5", f"{unique} 9"]
    logs = [
        {"project": unique, "session_reference_id": unique, "reference_id": f"{unique} 9"},
        {"project": unique, "parent_reference_id": parents[1], "reference_id": f"{unique} 5"},
        {"project": unique, "parent_reference_id": parents[2], "reference_id": f"{unique} 7"},
        {"project": unique, "parent_reference_id": parents[3], "session_reference_id": unique},
    ]
    created = client.ok("POST", "/logs", json=logs)
    assert len({log["session_id"] for log in created}) == 1
    stored = [client.ok("GET", f"/logs/{log['id']}") for log in created]
    assert [log.get("parent_reference_id") for log in stored] == parents
    assert [log.get("parent_id") for log in stored[1:]] == [created[n]["id"] for n in (0, 1, 0)]
    assert client.ok("GET", f"/sessions/{created[0]['session_id']}")["datapoints_count"] == 4


def test_a_parent_that_stands_behind_its_child_or_elsewhere_is_refused(client: Any, unique: str) -> None:
    """So is a parent in another session, and a datapoint as its own parent. Nothing is stored."""
    parent = {"project": unique, "session_reference_id": unique, "reference_id": unique}
    child = {"project": unique, "parent_reference_id": unique}
    stranger = {**child, "session_reference_id": f"{unique} 2"}
    for index, logs in enumerate(
        ([child, parent], [parent, stranger], [parent, child, {**child, "parent_reference_id": "x"}])
    ):
        response = client("POST", "/logs", json=logs)
        assert response.status_code == 422
        assert response.json()["detail"][0]["loc"] == ["body", index, "parent_reference_id"]
    assert client("POST", "/logs", json=[{**child, "reference_id": unique}]).status_code == 422
    assert client.ok("GET", "/projects", params={"filter": unique})["total"] == 0


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/logs/data_AAAAAAAAAAAAAAAAAAAAAAAA", 404),
        ("PATCH", "/logs/data_AAAAAAAAAAAAAAAAAAAAAAAA", 404),
        ("PATCH", "/logs?reference_id=unknown", 404),
        ("GET", "/logs?project_id=pr_AAAAAAAAAAAAAAAAAAAAAAAA", 404),
        ("GET", "/logs/1", 422),
        ("PATCH", "/logs/1", 422),
        ("PATCH", "/logs", 422),
        ("GET", "/logs", 422),
    ],
)
def test_an_unknown_log_is_not_found_and_a_malformed_id_invalid(
    client: Any, method: str, path: str, status: int
) -> None:
    """404 is for IDs that are well-formed."""
    assert client(method, path, json={}).status_code == status


@pytest.mark.parametrize(
    "update", [[], {"output": 1}, {"error": {}}, {"duration": "long"}, "output"], ids=str
)
def test_an_update_of_the_wrong_type_is_refused(client: Any, unique: str, update: Any) -> None:
    """The log stays as it was."""
    path = f"/logs/{client.log(project=unique)['id']}"
    before = client.ok("GET", path)
    assert client("PATCH", path, json=update).status_code == 422
    assert client.ok("GET", path) == before


@pytest.mark.parametrize("parameter", ["sort", "source_filter", "model_filter", "feedback-explicit_filter"])
def test_a_filter_that_is_not_served_is_refused(client: Any, unique: str, parameter: str) -> None:
    """The whole list never passes for the filtered one."""
    project_id = client.log(project=unique)["project_id"]
    response = client("GET", "/logs", params={"project_id": project_id, parameter: "x"})
    assert response.status_code == 422
    [detail] = response.json()["detail"]
    assert detail["loc"] == ["query", parameter]
    assert "not supported" in detail["msg"]
