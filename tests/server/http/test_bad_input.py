import json
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from hl_sessions.server.run.serving import serving_in_background
from hl_sessions.server.settings import ServerSettings
from tests.servers import served
from tests.waiting import PATIENCE

MIB = 1024 * 1024
LIMIT = 10 * MIB


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"project": "bad"} {}',
        b"\xff",
        b'"text"',
        b"5",
        b"null",
        b"[[]]",
        b'{"project": "bad", "metadata": {"n": NaN}}',
        b'{"project": "bad", "duration": Infinity}',
        b'{"project": "bad", "metadata": {"n": [-1e999]}}',
        b'{"project": "bad", "output": "\xed\xa0\x80"}',
        b'{"project": "bad", "output": "\0"}',
        b'{"project": "bad", "metadata": {"n": ' + b"9" * 5000 + b"}}",
        b'{"project": "bad", "metadata": {"deep": ' + b"[" * 10_000 + b"]" * 10_000 + b"}}",
        b"[" * 500_000,
        b'{"a":' * 100_000,
    ],
    ids=lambda body: repr(body[:45]),
)
@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_a_body_that_is_no_json_object_is_refused(client: Any, method: str, body: bytes) -> None:
    """The answer is a 422 in the shape of the protocol, nothing is stored, and the server keeps running."""
    path = "/logs" if method == "POST" else "/logs?reference_id=unknown"
    response = client(method, path, data=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 422
    for detail in response.json()["detail"]:
        assert detail.keys() == {"loc", "msg", "type"}
        assert detail["loc"][0] == "body"
    names = [project["name"] for project in client.ok("GET", "/projects", params={"size": 100})["records"]]
    assert "bad" not in names


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"[" * 250 + b"]" * 250, "The body is nested deeper than 200 levels"),
        (b"9" * 4301, "A number has more than 4300 digits"),
        (b"09", "The body is not valid JSON"),
    ],
    ids=["deep", "long", "wrong"],
)
def test_json_beyond_a_limit_is_told_of(client: Any, value: bytes, message: str) -> None:
    """It is valid, so readers would look for the error in vain."""
    response = client("POST", "/logs", data=b'{"project": "bad", "judgment": ' + value + b"}")
    assert response.json()["detail"] == [{"loc": ["body"], "msg": message, "type": "json_invalid"}]


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        ({"metadata": {"a": float("inf")}}, None),
        ({"duration": "1"}, "duration"),
        ({"prompt_tokens": 2**63}, "prompt_tokens"),
        ({"output_tokens": -1}, "output_tokens"),
        ({"prompt_cost": 1.1e15}, "prompt_cost"),
        ({"output_cost": -1.7e308}, "output_cost"),
        ({"config": {"type": "model", "model": "m", "other": "PAYLOAD"}}, "config"),
        ({"config": {"type": "PAYLOAD"}}, "config"),
        ({"config": {"provider": "PAYLOAD"}}, "config"),
        ({"config": {"type": "agent", "agent_class": "a", "model_config": {}}}, "config"),
        ({"messages": ["PAYLOAD"]}, "messages"),
        ({"output_message": "PAYLOAD"}, "output_message"),
        ({"reference_id": "é" * 513}, "reference_id"),
        ({"session_reference_id": "é" * 513}, "session_reference_id"),
        ({"parent_reference_id": ""}, "parent_reference_id"),
        ({"project": "é" * 513}, "project"),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_one_bad_entry_is_named_and_spoils_the_batch(
    client: Any, unique: str, entry: dict[str, Any], field: str | None
) -> None:
    """The 422 names the entry and the field, but nothing of its content."""
    good = {"project": unique, "session_reference_id": unique}
    body = json.dumps([good, good, {"project": unique, **entry}, good])
    response = client("POST", "/logs", data=body)
    assert response.status_code == 422
    location = response.json()["detail"][0]["loc"]
    assert location[: 1 if field is None else 3] == (["body"] if field is None else ["body", 2, field])
    assert "PAYLOAD" not in response.text
    assert client.ok("GET", "/projects", params={"filter": unique})["total"] == 0


def test_a_batch_has_an_end(client: Any, unique: str) -> None:
    """10,000 entries are stored together, and one more is too many."""
    body = f'{{"project":"{unique}"}},' * 9_999 + f'{{"project":"{unique}"}}'
    assert len(client.ok("POST", "/logs", data=f"[{body}]")) == 10_000
    response = client("POST", "/logs", data=f"[{body},1]")
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["body"]


def test_parents_make_no_circle(client: Any, unique: str) -> None:
    """A parent exists before its children, and cannot be changed."""
    one, two = (
        {"project": unique, "session_reference_id": unique, "reference_id": f"{unique} {n}"} for n in (1, 2)
    )
    around = [
        {**one, "parent_reference_id": two["reference_id"]},
        {**two, "parent_reference_id": one["reference_id"]},
    ]
    itself = {**one, "parent_reference_id": one["reference_id"]}
    for body, location in ((around, ["body", 0]), (itself, ["body"])):
        response = client("POST", "/logs", json=body)
        assert response.status_code == 422
        assert response.json()["detail"][0]["loc"] == [*location, "parent_reference_id"]
    first = client.log(**one)["id"]
    second = client.log(**two, parent_id=first)["id"]
    client.ok("PATCH", f"/logs/{first}", json={"parent_id": second, "output": "x"})
    assert "parent_id" not in client.ok("GET", f"/logs/{first}")


@pytest.mark.parametrize(
    "path",
    [
        "/logs?reference_id=%00",
        "/logs?reference_id=a%00b",
        "/logs/data_%00",
        "/logs/data_" + "A" * 65,
        "/projects/pr_%ED%A0%80",
    ],
)
def test_a_parameter_that_no_database_takes_is_refused(client: Any, path: str) -> None:
    """It counts as malformed, like a wrong type."""
    assert client("PATCH", path, json={}).status_code == 422


def test_a_number_of_any_size_is_kept_where_anything_is(client: Any, unique: str) -> None:
    """Integers inside inputs and metadata may be larger than those of the database."""
    for number in (2**63, -(10**40), 1e308, -0.0, 5e-324):
        created = client.log(project=unique, inputs={"n": number}, metadata={"n": [number]})
        log = client.ok("GET", f"/logs/{created['id']}")
        assert (repr(log["inputs"]["n"]), log["metadata"]["n"]) == (repr(number), [number])


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"])
def test_the_first_and_the_last_time_come_back(client: Any, unique: str, time: str) -> None:
    """Between the years 1 and 9999 every time is kept to the microsecond."""
    log_id = client.log(project=unique, created_at=time)["id"]
    assert client.ok("GET", f"/logs/{log_id}")["created_at"] == time


def test_json_at_the_limits_comes_back(client: Any, unique: str) -> None:
    """JSON that the parser accepts can be stored, read and listed."""
    deep: Any = []
    for _ in range(190):
        deep = [deep]
    metadata = {"deep": deep, "big": 10**4000, "small": 5e-324, "emoji": "😀", "backslash": "\\u0000"}
    created = client.log(project=unique, metadata=metadata)
    assert client.ok("GET", f"/logs/{created['id']}")["metadata"] == metadata
    page = client.ok("GET", "/logs", params={"project_id": created["project_id"]})
    assert page["records"][0]["metadata"] == metadata


def test_a_body_of_ten_mebibytes_is_read_and_not_a_byte_more(client: Any, unique: str) -> None:
    """The limit holds to the byte."""
    start, end = f'{{"project": "{unique}", "output": "', '"}'
    filler = "x" * (LIMIT - len(start) - len(end))
    assert client("POST", "/logs", data=start + filler + end).status_code == 200
    response = client("POST", "/logs", data=start + filler + "x" + end)
    assert response.status_code == 413
    assert response.json().keys() == {"detail"}


def test_the_limit_can_be_chosen(tmp_path: Path) -> None:
    """The answer names the limit in bytes."""
    settings = ServerSettings(port=0, database=str(tmp_path / "small"), max_body=100)
    with serving_in_background(settings) as base_url:
        answers = [
            requests.post(f"{base_url}/sessions", data=b"{}".ljust(n), timeout=PATIENCE) for n in (100, 101)
        ]
    assert [answer.status_code for answer in answers] == [201, 413]
    assert answers[1].json() == {"detail": "The body is longer than 100 bytes"}
    with pytest.raises(ValueError, match="at least 1 byte, not 0"):
        ServerSettings(max_body=0)


@pytest.mark.parametrize("path", ["/logs", "/sessions", "/nothing"])
def test_a_body_without_a_length_is_counted_while_it_arrives(client: Any, path: str) -> None:
    """A stream is refused at every address, although no header has its length."""

    def stream() -> Iterator[bytes]:
        for _ in range(64):
            yield bytes(MIB)

    response = client("POST", path, data=stream())
    assert response.status_code == 413


def test_an_endless_body_is_answered_before_it_ends(client: Any) -> None:
    """The answer does not wait for the rest of a body that is already too long."""
    address = urlsplit(client.base_url)
    assert address.hostname
    assert address.port
    with socket.create_connection((address.hostname, address.port), timeout=PATIENCE) as connection:
        head = "POST /v4/logs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n"
        connection.sendall(head.encode() + bytes(LIMIT + 1))
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


@dataclass
class Kept:
    """A server whose files can be searched."""

    base_url: str
    database: Path


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    database = tmp_path_factory.mktemp("kept") / "kept.sqlite3"
    with served(database) as base_url:
        taken = {"project": "p", "reference_id": "taken"}
        requests.post(f"{base_url}/logs", json=taken, timeout=PATIENCE).raise_for_status()
        yield Kept(base_url, database)


@pytest.mark.parametrize(
    "fields",
    [
        {"inputs": "PAYLOAD"},
        {"config": {"type": "PAYLOAD"}},
        {"feedback": {"type": "rating", "value": {"PAYLOAD": "PAYLOAD"}}},
        {"created_at": "PAYLOAD"},
        {"session_id": "PAYLOAD"},
        {"messages": [["PAYLOAD"]]},
        {"output": "PAYLOAD", "reference_id": "taken"},
        {"save": False, "inputs": {"a": "PAYLOAD"}, "output": "PAYLOAD", "error": "PAYLOAD"},
        {"provider_api_keys": {"openai": "PAYLOAD"}},
        {"provider_api_keys": "PAYLOAD", "duration": "x"},
        {"provider_api_keys": "PAYLOAD\0"},
        {"config": {"type": "generic", "provider_api_keys": {"openai": "PAYLOAD"}}},
        {"metadata": {"list": [{"provider_api_keys": ["PAYLOAD"]}]}, "output": 5},
    ],
    ids=str,
)
def test_what_must_not_be_kept_is_neither_stored_nor_echoed(
    kept: Kept, capfd: pytest.CaptureFixture[str], fields: dict[str, Any]
) -> None:
    """Refused payloads, unsaved payloads and the user's provider keys leave no trace."""
    answers = [requests.post(f"{kept.base_url}/logs", json={"project": "p", **fields}, timeout=PATIENCE)]
    if answers[0].ok:
        answers.append(requests.get(f"{kept.base_url}/logs/{answers[0].json()['id']}", timeout=PATIENCE))
    files = b"".join(path.read_bytes() for path in kept.database.parent.iterdir())
    assert b"taken" in files
    assert b"PAYLOAD" not in files
    assert not [answer.text for answer in answers if "PAYLOAD" in answer.text]
    assert "PAYLOAD" not in "".join(capfd.readouterr())


def test_a_failure_inside_tells_nothing_about_the_inside(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The answer is a plain 500, the log has nothing of the payload, and the server keeps running."""
    database = tmp_path / "broken.sqlite3"
    settings = ServerSettings(port=0, database=str(database))
    with requests.Session() as http, serving_in_background(settings) as base_url:
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("ALTER TABLE logs RENAME TO gone")
        log = {"project": "p", "output": "PAYLOAD", "session_reference_id": "PAYLOAD"}
        response = http.post(f"{base_url}/logs", json=log, timeout=PATIENCE)
        assert response.status_code == 500
        assert response.json() == {"detail": "Internal Server Error"}
        assert http.get(f"{base_url}/logs/data_x", timeout=PATIENCE).status_code == 500
        assert http.post(f"{base_url}/sessions", timeout=PATIENCE).status_code == 201
    assert "PAYLOAD" not in "".join(capfd.readouterr())
