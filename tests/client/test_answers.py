"""An answer that is not what the protocol promises never reaches the application."""

import json
from typing import Any

import pytest

from hl_sessions import InvalidResponseError, SessionsClient
from tests.client.conftest import Call
from tests.sessions_api import Answer, SessionsAPI
from tests.waiting import ends_within

SESSION_ID = "sesh_AAAAAAAAAAAAAAAAAAAA"
RECORD: dict[str, Any] = {
    "id": SESSION_ID,
    "projects": [{"id": "pr_1", "name": "one"}],
    "datapoints_count": 0,
    "created_at": "2023-07-26T10:00:00+00:00",
}
PAGE: dict[str, Any] = {"records": [RECORD], "page": 1, "size": 10, "total": 1}
DEEP = 100_000


def without(body: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key != name}


UNREADABLE = [
    pytest.param(b"", id="empty"),
    pytest.param(b"   ", id="blank"),
    pytest.param(b"<!DOCTYPE html><html><body>Welcome</body></html>", id="html"),
    pytest.param(b'{"id": "sesh_AAAA', id="half-of-it"),
    pytest.param(b'{"id": "sesh_AAAA"} and more', id="more-than-it"),
    pytest.param(b"\xff\xfe\x00", id="no-text"),
    pytest.param(b"[" * DEEP + b"]" * DEEP, id="deep-lists"),
    pytest.param(b'{"a":' * DEEP + b"1" + b"}" * DEEP, id="deep-objects"),
    pytest.param(b"1" * 5000, id="huge-number"),
    pytest.param(b"null", id="null"),
    pytest.param(b'"sesh_AAAAAAAAAAAAAAAAAAAA"', id="string"),
    pytest.param(b'[{"id": "sesh_AAAAAAAAAAAAAAAAAAAA"}]', id="list"),
    pytest.param(b"{}", id="empty-object"),
    pytest.param(b'{"id": "sesh_AAAA", "pad": "%s"}' % (b"x" * (1 << 20)), id="over-a-mebibyte"),
]


@pytest.mark.parametrize("body", UNREADABLE)
@pytest.mark.parametrize("status", [200, 201, 204])
def test_a_body_that_is_no_object_of_the_api_is_invalid(
    client: SessionsClient, sessions_api: SessionsAPI, status: int, body: bytes
) -> None:
    """A status of success is not enough."""
    if status == 204:  # which never has a body
        body = b""
    sessions_api.answer = lambda _: Answer(status, body)
    for name, args in (("create", ()), ("get", (SESSION_ID,)), ("list", ("pr_1",))):
        with ends_within(1), pytest.raises(InvalidResponseError):
            getattr(client, name)(*args)


WRONG_IDS = [
    pytest.param(None, id="null"),
    pytest.param(5, id="number"),
    pytest.param([SESSION_ID], id="list"),
    pytest.param("", id="empty"),
    pytest.param("sesh_", id="only-the-prefix"),
    pytest.param("AAAAAAAAAAAAAAAAAAAA", id="no-prefix"),
    pytest.param("data_AAAAAAAAAAAAAAAAAAAA", id="other-prefix"),
    pytest.param("SESH_AAAAAAAAAAAAAAAAAAAA", id="capital-prefix"),
    pytest.param("sesh_AAAA AAAA", id="space"),
    pytest.param(" " + SESSION_ID, id="leading-space"),
    pytest.param(SESSION_ID + "\n", id="trailing-newline"),
    pytest.param("sesh_AAAA\r\nX-Injected: 1", id="line-break"),
    pytest.param("sesh_AAAA\0", id="nul"),
    pytest.param("sesh_ÄÄÄÄ", id="umlauts"),
    pytest.param("sesh_\u0660\u0661", id="arabic-digits"),
    pytest.param("sesh_../projects", id="path"),
    pytest.param("sesh_" + "A" * 65, id="one-too-long"),
    pytest.param("sesh_" + "A" * 10_000, id="ten-kilobytes"),
]


@pytest.mark.parametrize("wrong", WRONG_IDS)
def test_a_wrong_id_is_invalid(
    client: SessionsClient, sessions_api: SessionsAPI, call: Call, wrong: Any
) -> None:
    """IDs end up in headers, paths and log lines: only their own characters are let in."""
    sessions_api.answer = lambda _: Answer(200, {**RECORD, "id": wrong})
    with pytest.raises(InvalidResponseError) as created:
        call(client, "create")
    with pytest.raises(InvalidResponseError):
        call(client, "get", SESSION_ID)
    sessions_api.answer = lambda _: Answer(200, {**PAGE, "records": [{**RECORD, "id": wrong}]})
    with pytest.raises(InvalidResponseError):
        call(client, "list", "pr_1")
    with pytest.raises(InvalidResponseError):
        call(client, "iter", "pr_1")
    assert len(str(created.value)) < 200
    assert str(created.value).isprintable()


@pytest.mark.parametrize(
    "session_id",
    ["sesh_A", "sesh_" + "Aa0_-" * 12 + "AAAA", "sesh_----"],
    ids=["shortest", "longest", "dashes"],
)
def test_a_right_id_is_given(client: SessionsClient, sessions_api: SessionsAPI, session_id: str) -> None:
    """Up to 64 letters, digits, underscores and dashes follow the prefix."""
    sessions_api.answer = lambda _: Answer(201, {"id": session_id})
    assert client.create().body == {"id": session_id}


WRONG_RECORDS = [
    *(pytest.param(without(RECORD, name), name, id=f"no-{name}") for name in RECORD),
    pytest.param({**RECORD, "projects": None}, "projects", id="projects-null"),
    pytest.param({**RECORD, "projects": {}}, "projects", id="projects-object"),
    pytest.param({**RECORD, "projects": ["pr_1"]}, "project", id="project-string"),
    pytest.param({**RECORD, "projects": [{"id": "pr_1"}]}, "name", id="project-without-name"),
    pytest.param({**RECORD, "projects": [{"id": 1, "name": "one"}]}, "id", id="project-id-number"),
    pytest.param({**RECORD, "datapoints_count": "1"}, "datapoints_count", id="count-string"),
    pytest.param({**RECORD, "datapoints_count": 1.5}, "datapoints_count", id="count-fraction"),
    pytest.param({**RECORD, "datapoints_count": True}, "datapoints_count", id="count-true"),
    pytest.param({**RECORD, "datapoints_count": False}, "datapoints_count", id="count-false"),
    pytest.param({**RECORD, "created_at": 1690000000}, "created_at", id="created-number"),
    pytest.param({**RECORD, "updated_at": None}, "updated_at", id="updated-null"),
    pytest.param({**RECORD, "reference_id": 42}, "reference_id", id="reference-number"),
    pytest.param({**RECORD, "first_inputs": "?"}, "first_inputs", id="inputs-string"),
    pytest.param({**RECORD, "last_output": {}}, "last_output", id="output-object"),
]


@pytest.mark.parametrize(("record", "field"), WRONG_RECORDS)
def test_a_wrong_record_is_invalid(
    client: SessionsClient, sessions_api: SessionsAPI, record: Any, field: str
) -> None:
    """A missing field, or one of a wrong type, is named, for a record alone and on a page."""
    sessions_api.answer = lambda _: Answer(200, record)
    with pytest.raises(InvalidResponseError, match=field):
        client.get(SESSION_ID)
    sessions_api.answer = lambda _: Answer(200, {**PAGE, "records": [RECORD, record]})
    with pytest.raises(InvalidResponseError, match=field):
        client.list("pr_1")


@pytest.mark.parametrize(
    ("page", "field"),
    [
        *(pytest.param(without(PAGE, name), name, id=f"no-{name}") for name in PAGE),
        pytest.param({**PAGE, "records": None}, "records", id="records-null"),
        pytest.param({**PAGE, "records": {}}, "records", id="records-object"),
        pytest.param({**PAGE, "records": [None]}, "session", id="record-null"),
        pytest.param({**PAGE, "page": "1"}, "page", id="page-string"),
        pytest.param({**PAGE, "size": None}, "size", id="size-null"),
        pytest.param({**PAGE, "total": True}, "total", id="total-true"),
    ],
)
def test_a_wrong_page_is_invalid(
    client: SessionsClient, sessions_api: SessionsAPI, page: Any, field: str
) -> None:
    """What is missing or of another type is named, before any record of the page is given."""
    sessions_api.answer = lambda _: Answer(200, page)
    with pytest.raises(InvalidResponseError, match=field):
        client.list("pr_1")
    with pytest.raises(InvalidResponseError, match=field):
        next(client.iter("pr_1"))


def test_an_invalid_answer_is_not_shown(client: SessionsClient, sessions_api: SessionsAPI) -> None:
    """Neither the error nor what it came from holds the body, which may be anything."""
    sessions_api.answer = lambda _: Answer(200, b"somebody's secret")
    with pytest.raises(InvalidResponseError) as failure:
        client.create()
    assert "secret" not in repr(failure.value)
    assert failure.value.__cause__ is failure.value.__context__ is None


def test_the_body_may_have_a_mebibyte(client: SessionsClient, sessions_api: SessionsAPI) -> None:
    """The limit is not below what the protocol needs."""
    body = json.dumps({"id": SESSION_ID}).encode()
    sessions_api.answer = lambda _: Answer(201, body + b" " * ((1 << 20) - len(body)))
    assert client.create().body == {"id": SESSION_ID}
