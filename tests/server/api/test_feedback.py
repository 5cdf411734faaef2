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


def test_feedback_is_taken_back(client: Any, unique: str) -> None:
    """The latest one of the type goes, or that with the value and the user, if they are named."""
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
    log_id = client.log(project=unique)["id"]
    good = {"type": "rating", "value": "good", "data_id": log_id}
    cases: list[tuple[dict[str, Any], str | None]] = [
        ({"data_id": "data_AAAAAAAAAAAAAAAAAAAAAAAA"}, "data_id"),
        ({"data_id": "x"}, "data_id"),
        ({"data_id": None}, "data_id"),
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
