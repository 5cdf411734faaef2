"""The server against its own OpenAPI document: what it allows, and what it forbids."""

from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import one_of
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.servers import served
from tests.waiting import PATIENCE

CALLS = [
    "POST /v4/sessions",
    "GET /v4/sessions",
    "GET /v4/sessions/{session_id}",
    "PATCH /v4/sessions",
    "PATCH /v4/sessions/{session_id}",
    "DELETE /v4/sessions/{session_id}",
    "POST /v4/logs",
    "GET /v4/logs",
    "PATCH /v4/logs",
    "DELETE /v4/logs",
    "GET /v4/arrivals",
    "GET /v4/logs/{log_id}",
    "PATCH /v4/logs/{log_id}",
    "POST /v4/projects",
    "GET /v4/projects",
    "GET /v4/projects/{project_id}",
    "PATCH /v4/projects/{project_id}",
    "DELETE /v4/projects/{project_id}",
    "POST /v4/feedback",
]
MODES = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
CHECKS = [
    not_a_server_error,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    database = tmp_path_factory.mktemp("openapi") / "openapi.sqlite3"
    with served(database) as base_url:
        yield base_url


@pytest.fixture(scope="module")
def document(server: str) -> Any:
    return schemathesis.openapi.from_url(f"{server}/openapi.json")


@pytest.fixture(scope="module")
def http() -> Iterator[requests.Session]:
    with requests.Session() as http:
        yield http


def known_values(http: requests.Session, server: str) -> dict[str, str]:
    """Return parameters and fields with values that exist."""
    log = {"project": "known", "session_reference_id": "known", "output": "known"}
    created = http.post(f"{server}/logs", json=log, timeout=PATIENCE).json()
    reference_ids = {"session_reference_id": "known", "parent_reference_id": "known"}
    log_ids = dict.fromkeys(("log_id", "data_id", "parent_id"), created["id"])
    return {
        **log_ids,
        **reference_ids,
        "project_id": created["project_id"],
        "session_id": created["session_id"],
    }


def lead_somewhere(case: Any, known: dict[str, str]) -> None:
    """Replace made-up values by existing ones."""
    for container in (case.path_parameters, case.query, case.body):
        if isinstance(container, dict):
            container |= {name: value for name, value in known.items() if name in container}
    if case.method == "DELETE" and isinstance(case.query, dict) and "id" in case.query:
        case.query["id"] = known["log_id"]


@pytest.mark.parametrize("call", CALLS)
def test_every_answer_is_one_that_the_document_describes(
    call: str, document: Any, server: str, http: requests.Session
) -> None:
    """No call makes the server fail, and every answer has a described status, type and schema."""
    method, path = call.split()
    operation = document[path][method]

    @settings(
        max_examples=8,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=one_of(*(operation.as_strategy(generation_mode=mode) for mode in MODES)))
    def make_calls(case: Any) -> None:
        case.call_and_validate(checks=CHECKS, session=http)
        lead_somewhere(case, known_values(http, server))
        case.call_and_validate(checks=CHECKS, session=http)

    make_calls()


def test_the_document_says_how_to_sign_in_and_names_every_call(server: str) -> None:
    """Every call can be refused because of its key, and of its form."""
    document = requests.get(f"{server}/openapi.json", timeout=PATIENCE).json()
    assert document["components"]["securitySchemes"]["APIKey"]["name"] == "X-API-KEY"
    assert document["info"]["version"] == version("hl-sessions")
    calls = {
        f"{method.upper()} {path}": operation
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }
    assert sorted(calls) == sorted(CALLS)
    for call, operation in calls.items():
        assert {"401", "422", "503"} <= operation["responses"].keys()
        names = {parameter["name"] for parameter in operation.get("parameters", ())}
        is_done_once = call.startswith(("POST", "PATCH"))
        assert ("Idempotency-Key" in names) == ("409" in operation["responses"]) == is_done_once
