import re
from typing import Any

import pytest


def feedback_on(client: Any, log_id: str) -> list[dict[str, Any]]:
    given: list[dict[str, Any]] = client.ok("GET", f"/logs/{log_id}").get("feedback", [])
    return given


def test_feedback_is_answered_and_shown_on_its_datapoint(client: Any, unique: str) -> None:
    """One feedback is answered as an object, and comes back with the datapoint."""
    log_id = client.log(project=unique, feedback={"type": "rating", "value": "first"})["id"]
    given = {"type": "rating", "value": "good", "data_id": log_id, "user": "me"}
    answer = client.ok("POST", "/feedback", json=given)
    assert re.fullmatch(r"ann_[A-Za-z0-9_-]{20,}", answer["id"])
    assert answer.keys() == {*given, "id", "created_at"}
    first, second = feedback_on(client, log_id)
    assert first["value"] == "first"
    assert second == answer


def test_a_list_of_feedback_is_answered_in_its_order(client: Any, unique: str) -> None:
    """A list of one is a list too, and so is an empty one."""
    log_ids = [client.log(project=unique)["id"] for _ in range(3)]
    given = [
        {"type": "mark", "value": n, "data_id": log_id, "created_at": "2025-01-01T00:00:00Z"}
        for n, log_id in enumerate(log_ids)
    ]
    answers = client.ok("POST", "/feedback", json=given)
    assert [{**answer, "id": None} for answer in answers] == [{**one, "id": None} for one in given]
    assert [feedback_on(client, log_id) for log_id in log_ids] == [[answer] for answer in answers]
    assert len(client.ok("POST", "/feedback", json=given[:1])) == 1
    assert client.ok("POST", "/feedback", json=[]) == []


@pytest.mark.parametrize("value", [True, 3, 0.5, ["a", "b"], "text", False, [], ""], ids=repr)
def test_the_value_keeps_its_type(client: Any, unique: str, value: Any) -> None:
    """A boolean stays a boolean, and a number a number."""
    log_id = client.log(project=unique)["id"]
    client.ok("POST", "/feedback", json={"type": "mark", "value": value, "data_id": log_id})
    [feedback] = feedback_on(client, log_id)
    assert (type(feedback["value"]), feedback["value"]) == (type(value), value)


def test_feedback_names_its_datapoint_by_the_reference_id(client: Any, unique: str) -> None:
    """As the caller has it from ``log``. The answer has the ID of the datapoint, also in a list."""
    reference_ids = [f"{unique} {n}" for n in range(2)]
    logs = [{"project": unique, "reference_id": reference_id} for reference_id in reference_ids]
    first, second = (log["id"] for log in client.ok("POST", "/logs", json=logs))
    kind = {"type": "rating", "value": "good"}
    answer = client.ok("POST", "/feedback", json={**kind, "reference_id": reference_ids[0]})
    assert answer == {**kind, "data_id": first, "id": answer["id"], "created_at": answer["created_at"]}
    given = [{**kind, "reference_id": reference_ids[1]}, {**kind, "data_id": second}]
    answers = client.ok("POST", "/feedback", json=given)
    assert [feedback_on(client, log_id) for log_id in (first, second)] == [[answer], answers]
    about = {"type": "rating", "reference_id": reference_ids[0], "unset": True}
    assert client.ok("POST", "/feedback", json=about) == answer
    assert feedback_on(client, first) == []


def test_feedback_is_taken_back(client: Any, unique: str) -> None:
    """The latest one of the type is removed, or the one with the given value and user."""
    log_id = client.log(project=unique)["id"]
    about = {"type": "issue", "data_id": log_id}
    for value in ("slow", "wrong", ["long"]):
        client.ok("POST", "/feedback", json={**about, "value": value, "user": "me"})
    assert client.ok("POST", "/feedback", json={**about, "unset": True})["value"] == ["long"]
    assert client.ok("POST", "/feedback", json={**about, "unset": True, "value": "slow"})["value"] == "slow"
    assert [one["value"] for one in feedback_on(client, log_id)] == ["wrong"]
    for absent in ({"value": "slow"}, {"user": "you"}, {"type": "rating"}):
        response = client("POST", "/feedback", json={**about, "unset": True, **absent})
        assert response.status_code == 422
        assert response.json()["detail"][0]["loc"] == ["body", "unset"]
    assert len(feedback_on(client, log_id)) == 1


def test_feedback_that_breaks_a_rule_is_refused_with_its_place(client: Any, unique: str) -> None:
    """The 422 names the field, in a list the index too, and nothing of the list is stored."""
    log_id = client.log(project=unique, reference_id=unique)["id"]
    good = {"type": "rating", "value": "good", "data_id": log_id}
    cases: list[tuple[dict[str, Any], str | None]] = [
        ({"data_id": "x"}, "data_id"),
        ({"data_id": None}, "data_id"),
        ({"session_id": "sesh_AAAAAAAAAAAAAAAAAAAAAAAA"}, "session_id"),
        ({"session_id": "x"}, "session_id"),
        ({"reference_id": unique}, "reference_id"),
        ({"reference_id": ""}, "reference_id"),
        ({"data_id": None, "reference_id": unique, "session_id": f"sesh_{unique}"}, "session_id"),
        ({"type": None}, "type"),
        ({"type": 5}, "type"),
        ({"value": {}}, "value"),
        ({"value": [5]}, "value"),
        ({"created_at": "10000-01-01T00:00:00Z"}, "created_at"),
        ({"unset": "yes"}, "unset"),
        ({"value": None}, None),
    ]
    for broken, field in cases:
        bad = {**good, **broken}
        location = ["body", *([field] if field else [])]
        response = client("POST", "/feedback", json=bad)
        assert response.status_code == 422, broken
        assert response.json()["detail"][0]["loc"][: len(location)] == location
        response = client("POST", "/feedback", json=[good, good, bad])
        assert response.status_code == 422, broken
        assert response.json()["detail"][0]["loc"][: len(location) + 1] == ["body", 2, *location[1:]]
    assert feedback_on(client, log_id) == []


def session_of(client: Any, unique: str) -> str:
    session_id: str = client.log(project=unique, session_reference_id=unique)["session_id"]
    return session_id


def test_feedback_on_a_session_is_shown_with_it(client: Any, unique: str) -> None:
    """Alone, in lists, and in the order of arrival. A session without feedback has no such field."""
    session_id = session_of(client, unique)
    before = client.ok("GET", f"/sessions/{session_id}")
    assert "feedback" not in before
    given: list[dict[str, Any]] = [
        {"session_id": session_id, "type": "rating", "value": "good", "user": "me"},
        {"session_id": session_id, "type": "note", "value": "Why?\nBecause."},
    ]
    answers = client.ok("POST", "/feedback", json=given)
    assert [{name: answer[name] for name in one} for answer, one in zip(answers, given, strict=True)] == given
    assert not any("data_id" in answer for answer in answers)
    shown = client.ok("GET", f"/sessions/{session_id}")
    assert shown["feedback"] == answers
    assert shown["updated_at"] > before["updated_at"]
    assert client.ok("GET", "/sessions", params={"size": 100})["records"].count(shown) == 1
    about = {"session_id": session_id, "type": "rating", "unset": True}
    assert client.ok("POST", "/feedback", json=about) == answers[0]
    assert client.ok("GET", f"/sessions/{session_id}")["feedback"] == answers[1:]
    client("DELETE", f"/sessions/{session_id}")
    assert client("POST", "/feedback", json=given[0]).status_code == 404


def test_feedback_on_what_is_gone_is_not_found(client: Any, unique: str) -> None:
    """The answer names the missing subject, and nothing of the list is stored."""
    log_id = client.log(project=unique)["id"]
    kind = {"type": "rating", "value": "good"}
    for field, name, gone in (
        ("data_id", "datapoint", "data_AAAAAAAAAAAAAAAAAAAAAAAA"),
        ("session_id", "session", "sesh_AAAAAAAAAAAAAAAAAAAAAAAA"),
        ("reference_id", "datapoint with the reference ID", unique),
    ):
        for about in ({}, {"unset": True}):
            given = [{**kind, "data_id": log_id}, {**kind, **about, field: gone}]
            for body in (given, given[1]):
                response = client("POST", "/feedback", json=body)
                assert response.status_code == 404
                detail = f"There is no {name} '{gone}': it was deleted, or never existed"
                assert response.json() == {"detail": detail}
    assert feedback_on(client, log_id) == []


TYPES: list[dict[str, Any]] = [
    {"type": "tone", "values": [{"value": "formal", "sentiment": "neutral"}, {"value": "casual"}]},
    {"type": "score", "kind": "number"},
    {"type": "correction"},
]


def test_a_project_defines_types_of_feedback(client: Any, unique: str) -> None:
    """They are answered as in v4, after those of every project, and can be sent back unchanged."""
    path = f"/projects/{client.log(project=unique)['project_id']}"
    built_in = client.ok("GET", path)["feedback_types"]
    labels = [
        {"value": "good", "sentiment": "positive"},
        {"value": "bad", "sentiment": "negative"},
    ]
    assert built_in == [{"type": "rating", "values": labels}, {"type": "note"}]
    tone = {
        "type": "tone",
        "values": [{"value": "formal", "sentiment": "neutral"}, {"value": "casual", "sentiment": "unset"}],
    }
    expected = [*built_in, tone, *TYPES[1:]]
    assert client.ok("PATCH", path, json={"feedback_types": TYPES})["feedback_types"] == expected
    assert client.ok("PATCH", path, json={"name": f"{unique} 2"})["feedback_types"] == expected
    assert client.ok("PATCH", path, json={"feedback_types": expected})["feedback_types"] == expected
    [found] = client.ok("GET", "/projects", params={"filter": unique})["records"]
    assert found["feedback_types"] == expected
    assert client.ok("PATCH", path, json={"feedback_types": []})["feedback_types"] == built_in


@pytest.mark.parametrize(
    ("types", "message"),
    [
        pytest.param([{"type": "rating"}], "'rating' is there in every project as it is", id="built in"),
        pytest.param([{"type": "a"}, {"type": "a"}], "'a' is there twice", id="a type twice"),
        pytest.param(
            [{"type": "a", "values": [{"value": "b"}, {"value": "b"}]}],
            "a value of 'a' is there twice",
            id="a value twice",
        ),
        pytest.param(
            [{"type": "a", "kind": "number", "values": [{"value": "b"}]}],
            "'a' has both 'values' and a 'kind'",
            id="a list and a number",
        ),
        pytest.param([{"type": "a", "kind": "date"}], "Input should be 'number'", id="an unknown kind"),
        pytest.param([{"type": ""}], "String should have at least 1 character", id="no name"),
        pytest.param([{"values": []}], "Field required", id="no type"),
    ],
)
def test_types_that_cannot_be_are_refused(
    client: Any, unique: str, types: list[dict[str, Any]], message: str
) -> None:
    """The 422 names the problem and the way out. Nothing is changed, not even the name."""
    path = f"/projects/{client.log(project=unique)['project_id']}"
    response = client("PATCH", path, json={"name": f"{unique} 2", "feedback_types": types})
    assert response.status_code == 422
    [detail] = response.json()["detail"]
    assert detail["loc"][:2] == ["body", "feedback_types"]
    assert message in detail["msg"]
    assert client.ok("GET", path)["name"] == unique


def test_values_fit_their_types(client: Any, unique: str) -> None:
    """A datapoint has the types of its project, a session those of all its projects; others are free."""
    session_id = session_of(client, unique)
    logged = client.log(project=f"{unique} 2", session_id=session_id)
    path = f"/projects/{logged['project_id']}"
    client.ok("PATCH", path, json={"feedback_types": TYPES})
    other = client.log(project=f"{unique} 3")["id"]
    for subject in ({"data_id": logged["id"]}, {"session_id": session_id}):
        for kind, value, possible in (
            ("tone", "rude", "'rude' is no value of 'tone', which may be one of: formal, casual"),
            ("tone", True, "True is no value of 'tone', which may be one of: formal, casual"),
            ("score", "5", "'5' is no value of 'score', which may be a number"),
            ("score", True, "True is no value of 'score', which may be a number"),
            ("correction", 5, "5 is no value of 'correction', which may be a text of up to 4,096 bytes"),
        ):
            response = client("POST", "/feedback", json={**subject, "type": kind, "value": value})
            assert response.status_code == 422
            [detail] = response.json()["detail"]
            assert (detail["loc"], detail["msg"]) == (["body", "value"], possible)
        given = [("tone", "formal"), ("score", 0.5), ("score", 5), ("correction", "ü" * 2048), ("free", [])]
        client.ok("POST", "/feedback", json=[{**subject, "type": kind, "value": v} for kind, v in given])
    client.ok("POST", "/feedback", json={"data_id": other, "type": "tone", "value": "rude"})
    # For types that no project has defined, datapoints take any value, as in v4.
    fine = {"type": "rating", "value": "fine"}
    client.ok("POST", "/feedback", json={**fine, "data_id": other})
    [detail] = client("POST", "/feedback", json={**fine, "session_id": session_id}).json()["detail"]
    assert detail["msg"] == "'fine' is no value of 'rating', which may be one of: good, bad"
    client.ok("PATCH", path, json={"feedback_types": []})
    assert len(feedback_on(client, logged["id"])) == 5


def test_of_two_definitions_the_older_project_counts(client: Any, unique: str) -> None:
    """In a session in which both have datapoints."""
    session_id = session_of(client, unique)
    projects = [client.log(project=f"{unique} {n}", session_id=session_id)["project_id"] for n in range(2)]
    for project_id, one in zip(projects, TYPES[:2], strict=True):
        client.ok("PATCH", f"/projects/{project_id}", json={"feedback_types": [{**one, "type": "same"}]})
    about = {"session_id": session_id, "type": "same"}
    client.ok("POST", "/feedback", json={**about, "value": "casual"})
    assert client("POST", "/feedback", json={**about, "value": 5}).status_code == 422


def test_feedback_that_is_sent_again_is_stored_once(client: Any, unique: str) -> None:
    """For sessions as for datapoints, the first answer is repeated, and a refusal is not stored."""
    session_id = session_of(client, unique)
    body = {"session_id": session_id, "type": "rating", "value": "good"}
    header = {"Idempotency-Key": f"key-{unique}"}
    first, again = (client.ok("POST", "/feedback", json=body, headers=header) for _ in range(2))
    assert first == again
    assert client.ok("GET", f"/sessions/{session_id}")["feedback"] == [first]
