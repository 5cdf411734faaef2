"""Calls that this server does not have, and fields that it does not store, are named."""

import json
from typing import Any

import pytest
import requests

from tests.waiting import PATIENCE


@pytest.mark.parametrize(
    ("method", "path", "purpose"),
    [
        ("POST", "/chat-deployed", "It asks a model"),
        ("POST", "/completion", "It asks a model"),
        ("POST", "/evaluations", "about evaluations"),
        ("GET", "/evaluators/", "about evaluations"),
        ("GET", "/datasets/evts_1/datapoints", "about datasets"),
        ("POST", "/model-configs", "about configs"),
        ("GET", "/projects/pr_1/configs", "of a project"),
        ("GET", "/finetunes", "about configs"),
        ("GET", "/prompts", ""),
        ("DELETE", "/sessions/", ""),
        ("POST", "/docs", ""),
        ("GET", "", ""),
        ("POST", "/", ""),
        ("DELETE", "/sessions", ""),
        ("PUT", "/logs", ""),
        ("GET", "/feedback", ""),
    ],
)
def test_a_call_that_is_not_served_is_answered_with_what_there_is(
    client: Any, method: str, path: str, purpose: str
) -> None:
    """The 404 explains the call, if it is known, and names the version of the API and its calls."""
    response = client(method, path, json={"a": "PAYLOAD"}, allow_redirects=False)
    assert response.status_code == 404
    detail = response.json()["detail"]
    assert purpose in detail
    assert "There is no such call here." in detail
    assert "This server speaks v4 of the API" in detail
    served = response.json()["served"]
    document = client.ok("GET", "/openapi.json")["paths"]
    assert sorted(served) == sorted(
        f"{method.upper()} {path}" for path, methods in document.items() for method in methods
    )


@pytest.mark.parametrize("path", ["/v5", "/v5/", "/v5/prompts/log", "/v3/logs"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("base_url_name", ["sqlite_base_url", "locked_base_url"])
def test_another_version_of_the_api_is_answered_as_such(
    request: pytest.FixtureRequest, base_url_name: str, method: str, path: str
) -> None:
    """In JSON, with a key or without one; not by the page."""
    root = request.getfixturevalue(base_url_name).removesuffix("/v4")
    answer = requests.request(method, root + path, json={}, timeout=PATIENCE)
    assert answer.status_code == 404
    assert "another version of the API. This server speaks v4 of the API" in answer.json()["detail"]
    assert "POST /v4/logs" in answer.json()["served"]


def test_a_head_of_a_call_that_has_none_is_not_found(client: Any) -> None:
    """The answer has no body."""
    assert client("HEAD", "/unserved").status_code == 404


def test_fields_that_are_not_kept_are_named(client: Any, unique: str) -> None:
    """A header lists them, also for lists of logs. Without such a field there is no header."""

    def ignored(method: str, path: str, body: Any) -> str | None:
        response = client(method, path, data=json.dumps(body))
        assert response.ok, response.text
        header: str | None = response.headers.get("X-Ignored-Fields")
        return header

    project = {"name": unique, "feedback_types": [{"type": "rating"}], "directory_id": "dir_1"}
    assert ignored("POST", "/projects", project) == "directory_id, feedback_types"
    log = {"project": unique, "provider_api_keys": {"openai": "sk"}}
    created = client.log(**log)
    path = f"/projects/{created['project_id']}"
    assert ignored("PATCH", path, {"active_config_id": "config_1"}) == "active_config_id"
    assert ignored("PATCH", path, {"name": f"{unique} 2"}) is None
    log = {**log, "project": f"{unique} 2"}
    assert ignored("POST", "/logs", log) is None
    assert ignored("POST", "/logs", [log, {**log, "trace_id": "1"}, {**log, "user": "u"}]) == "trace_id, user"
    assert ignored("PATCH", f"/logs/{created['id']}", {"output": "a", "source": "b"}) == "source"
    feedback = {"data_id": created["id"], "type": "rating", "value": "good"}
    assert ignored("POST", "/feedback", {**feedback, "model_config": 1}) == "model_config"
    assert ignored("POST", "/logs", {**log, "a b\r\nc: d": 1, "ü": 2, "x" * 65: 3, "tags": 4}) == "tags, ..."
    many = ignored("POST", "/logs", log | {f"field_{n:02}": n for n in range(50)})
    assert many is not None
    assert many.endswith("field_19, ...")
