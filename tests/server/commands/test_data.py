"""The commands for the data as a whole, on both databases."""

import csv
import io
import json
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
from sqlalchemy import update

from hl_sessions.server.commands.data import db, export_data, import_data, prune
from hl_sessions.server.commands.keys import keys
from hl_sessions.server.database.engines import for_writing, open_engine
from hl_sessions.server.database.tables import logs, sessions
from hl_sessions.server.records import deleting
from hl_sessions.server.run.serving import serving_in_background
from hl_sessions.server.settings import ServerSettings
from tests.commands import LINE, done, exported, run
from tests.memory import memory_of
from tests.servers import HL_SESSIONS, served
from tests.waiting import PATIENCE


def age(database: str) -> None:
    """Make everything in the database two hours older."""
    engine = open_engine(ServerSettings(database=database).database_url)
    with for_writing(engine).begin() as connection:
        past = datetime.now(timezone.utc) - timedelta(hours=2)
        for table in (sessions, logs):
            is_later = table.c.created_at > past
            connection.execute(update(table).where(is_later).values(created_at=past))
            connection.execute(update(table).values(updated_at=past))
    engine.dispose()


@pytest.fixture(scope="session")
def lines(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An export with some records of each kind."""
    database = str(tmp_path_factory.mktemp("export") / "database.sqlite3")
    done(keys, "create", "--name", "somebody", "--organisation", "others", "--db", database)
    key = done(keys, "create", "--name", "me", "--db", database).stdout.strip()
    settings = ServerSettings(port=0, database=database)
    with serving_in_background(settings) as url, requests.Session() as http:
        http.headers["X-API-KEY"] = key
        for number in range(3):
            log: Any = {
                "project": f"project {number % 2}",
                "session_reference_id": f"session {number}",
                "reference_id": f"log {number}",
                "inputs": {"text": "ünï \u2028 \U0001f600", "list": [1, 2.5, None, True]},
                "judgment": (10**400, 0.1 + 0.2, -0.0)[number],
                "output": "line 1\nline 2",
                "duration": 0.1 + number,
                "prompt_tokens": 2**53 + 1,
                "feedback": [{"type": "rating", "value": "good"}, {"type": "mark", "value": False}],
                "created_at": f"2025-01-0{number + 1}T00:00:00.123456+02:00",
            }
            parent = http.post(f"{url}/logs", json=log, timeout=PATIENCE).json()["id"]
            nested = {"project": "project 1", "parent_id": parent, "save": False}
            created = http.post(f"{url}/logs", json=[nested, {"project": "alone"}], timeout=PATIENCE).json()
            note = {"session_id": created[0]["session_id"], "type": "note", "value": "Why?", "user": "me"}
            http.post(f"{url}/feedback", json=note, timeout=PATIENCE)
            types: Any = {"feedback_types": [{"type": "tone", "values": [{"value": "formal"}]}]}
            http.patch(f"{url}/projects/{created[0]['project_id']}", json=types, timeout=PATIENCE)
        told: Any = {"previous_id": "sesh_before", "metadata": {"customer": "acme"}}
        http.post(f"{url}/sessions", json=told, timeout=PATIENCE)
    return done(export_data, "--db", database).stdout


def test_the_help_of_the_export_tells_the_form_of_each_file() -> None:
    """Spans are lines, too, so no JSON parser reads the file as a whole."""
    text = " ".join(done(export_data, "--help").stdout.split())
    assert "with otlp-json, JSON Lines of requests to a collector" in text


def test_an_export_holds_everything_but_keys(lines: str) -> None:
    """There is a line for each record, in an order in which they can be read again, and no key or hash."""
    records = [json.loads(line) for line in LINE.findall(lines)]
    kinds = [record["record"] for record in records]
    assert [(kind, kinds.count(kind)) for kind in dict.fromkeys(kinds)] == [
        ("organisations", 2),
        ("projects", 3),
        ("sessions", 4),
        ("logs", 9),
        ("feedback", 9),
    ]
    assert "sesh_before" in [record.get("previous_id") for record in records]
    assert not {"hash", "key", "key_id"} & {name for record in records for name in record}
    assert '":null' not in lines


def test_an_export_may_hold_one_project_since_a_time(database: str, lines: str, tmp_path: Path) -> None:
    """Datapoints with all that belongs to them. Records that they name come before, or are left out."""
    done(import_data, "--db", database, "-", text=lines)
    file = tmp_path / "some.jsonl"
    arguments = ("--project", "project 1", "--since", "2025-01-01")
    done(export_data, "--db", database, *arguments, str(file))
    records = [json.loads(line) for line in LINE.findall(file.read_text())]
    kinds = [record["record"] for record in records]
    assert [(kind, kinds.count(kind)) for kind in dict.fromkeys(kinds)] == [
        ("organisations", 1),
        ("projects", 1),
        ("sessions", 3),
        ("logs", 4),
        ("feedback", 5),
    ]
    assert sum("parent_id" in record for record in records) == 1
    done(import_data, "--db", str(tmp_path / "back.sqlite3"), str(file))
    newest = exported(database, "--since", "1h")
    assert {record["record"] for record in newest} == {
        *("organisations", "projects", "sessions", "logs", "feedback")
    }
    # The feedback on sessions: the datapoints with feedback are older.
    assert {"session_id" in record for record in newest if record["record"] == "feedback"} == {True}
    assert exported(database, "--since", "2000-01-01T12:30") == exported(database)


def test_an_export_may_be_csv(database: str, lines: str, tmp_path: Path) -> None:
    """A row for each datapoint; without datapoints only the row of names.

    The name of the file asks for it, unless another format is given.
    """
    done(import_data, "--db", database, "-", text=lines)
    table = done(export_data, "--db", database, "--format", "csv").stdout_bytes.decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(table, newline="")))
    of_logs = [record for record in exported(database) if record["record"] == "logs"]
    assert [row["id"] for row in rows] == [record["id"] for record in of_logs]
    assert [row["output"] for row in rows] == [record.get("output", "") for record in of_logs]
    assert {row["project"] for row in rows} == {"project 0", "project 1", "alone"}
    assert json.loads(rows[0]["inputs"]) == of_logs[0]["inputs"]
    assert json.loads(rows[0]["feedback"])[1] == {"type": "mark", "value": False, "user": None}
    alone = done(export_data, "--db", database, "--format", "csv", "--project", "alone").stdout
    assert len(list(csv.reader(io.StringIO(alone, newline="")))) == 4
    for name, *arguments in (("out.CSV",), ("out.csv.jsonl", "--format", "csv")):
        done(export_data, "--db", database, *arguments, str(tmp_path / name))
        assert (tmp_path / name).read_text("utf-8-sig") == table.replace("\r\n", "\n")
    done(export_data, "--db", database, "--format", "jsonl", str(tmp_path / "lines.csv"))
    assert (tmp_path / "lines.csv").read_text() == done(export_data, "--db", database).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--project", "nobody's"], 'there is no project "nobody\'s"'),
        (["--since", "yesterday"], "give an age such as 7d, or a time such as 2026-11-22"),
    ],
)
def test_an_export_of_nothing_known_is_refused(tmp_path: Path, arguments: list[str], message: str) -> None:
    """The file of an earlier export stays as it is."""
    database, file = str(tmp_path / "empty.sqlite3"), tmp_path / "export.jsonl"
    done(db, "upgrade", "--db", database)
    file.write_text("of yesterday")
    result = run(export_data, "--db", database, *arguments, str(file))
    assert result.exit_code == 2
    assert message in result.output
    assert file.read_text() == "of yesterday"


LOOKING = [
    (export_data, []),
    (prune, ["--older-than", "90d"]),
    (keys, ["list"]),
    (keys, ["revoke", "key_x"]),
]


@pytest.mark.parametrize(("command", "arguments"), LOOKING)
def test_no_database_is_made_to_look_into_it(tmp_path: Path, command: Any, arguments: list[str]) -> None:
    """A name that was mistyped is told, rather than that there is nothing in it."""
    mistyped = tmp_path / "hl-session.sqlite3"
    for database in (str(mistyped), f"sqlite:///{mistyped}"):
        result = run(command, *arguments, "--db", database)
        assert result.exit_code == 1
        assert f"there is no database {mistyped}: name another one with --db" in result.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "arguments"),
    [*LOOKING, (keys, ["create", "--name", "x"]), (import_data, ["-"]), (db, ["upgrade"])],
)
def test_a_file_of_another_program_is_left_alone(tmp_path: Path, command: Any, arguments: list[str]) -> None:
    """Its tables are not ours, and ours would not be expected in it."""
    path = tmp_path / "photos.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE photos (name)")
    before = path.read_bytes()
    result = run(command, *arguments, "--db", str(path))
    assert result.exit_code == 1
    assert result.output == (
        f"Error: {path} has tables of another program, and none of hl-sessions: give another file with --db\n"
    )
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_database_that_is_read_only_is_told_or_only_read(tmp_path: Path) -> None:
    """Commands that write end with one line, and others work."""
    path = tmp_path / "read-only.sqlite3"
    done(db, "upgrade", "--db", str(path))
    url = f"sqlite:///file:{path}?mode=ro&uri=true"
    for command, *arguments in (
        (keys, "create", "--name", "x"),
        (keys, "revoke", "x"),
        (prune, "--older-than", "90d"),
        (import_data, "-"),
    ):
        result = run(command, *arguments, "--db", url)
        assert result.exit_code == 1
        assert result.output == (
            f"Error: cannot write to the database file:{path}: attempt to write a readonly database\n"
        )
    assert done(keys, "list", "--db", url).stdout == done(export_data, "--db", url).stdout == ""


def test_an_import_is_what_was_exported(database: str, lines: str, tmp_path: Path) -> None:
    """On either database. A second import, also after an interruption, adds nothing twice."""
    begin = "".join(LINE.findall(lines)[:11])
    done(import_data, "--db", database, "-", text=begin)
    result = done(import_data, "--db", database, "-", text=lines)
    assert result.stderr == "Imported 16 records; 11 were there already\n"
    assert done(export_data, "--db", database).stdout == lines
    result = done(import_data, "--db", database, "-", text=lines)
    assert result.stderr == "Imported 0 records; 27 were there already\n"
    assert done(export_data, "--db", database).stdout == lines
    back = str(tmp_path / "back.sqlite3")
    file = tmp_path / "export.jsonl"
    done(export_data, "--db", database, str(file))
    done(import_data, "--db", back, str(file))
    assert done(export_data, "--db", back).stdout == lines


def test_a_server_counts_what_was_imported(database: str, lines: str) -> None:
    """Projects and sessions have the right counts, and an existing project keeps its name to itself."""
    settings = ServerSettings(port=0, database=database)
    with serving_in_background(settings) as url, requests.Session() as http:
        here = http.post(f"{url}/logs", json={"project": "project 1"}, timeout=PATIENCE).json()["project_id"]
        done(import_data, "--db", database, "-", text=lines)
        projects = http.get(f"{url}/projects", timeout=PATIENCE).json()["records"]
        assert {project["name"]: project["data_count"] for project in projects} == {
            "project 0": 2,
            "project 1": 5,
            "alone": 3,
        }
        page = http.get(f"{url}/sessions?project_id={here}", timeout=PATIENCE).json()
        assert page["total"] == 3
        assert [session["datapoints_count"] for session in page["records"]] == [2, 2, 2]
        assert page["records"][0]["first_inputs"]["list"] == [1, 2.5, None, True]
        query = {"q": "metadata.customer=acme"}
        assert http.get(f"{url}/sessions", params=query, timeout=PATIENCE).json()["total"] == 1


@pytest.mark.skipif(sys.platform != "linux", reason="the system tells memory in other units elsewhere")
@pytest.mark.slow
def test_of_large_datapoints_few_are_exported_or_imported_at_a_time(tmp_path: Path) -> None:
    with served(tmp_path / "from") as base_url:
        for _ in range(6):
            log: dict[str, Any] = {"project": "large", "inputs": {"question": "x" * 900_000}}
            requests.post(f"{base_url}/logs", json=[log] * 10, timeout=PATIENCE).raise_for_status()
    least = memory_of("db", "upgrade", "--db", tmp_path / "to")
    for command, database, file in (
        ("export", "from", "lines"),
        ("import", "to", "lines"),
        ("export", "to", "same"),
    ):
        more = memory_of(command, "--db", tmp_path / database, tmp_path / file) - least
        assert more < 40_000_000
    assert (tmp_path / "lines").read_bytes() == (tmp_path / "same").read_bytes()


def test_an_export_of_nothing_is_an_empty_file(tmp_path: Path) -> None:
    """The file exists, so that an import finds it."""
    database, file = str(tmp_path / "empty.sqlite3"), tmp_path / "export.jsonl"
    done(db, "upgrade", "--db", database)
    done(export_data, "--db", database, str(file))
    assert file.read_bytes() == b""
    assert done(import_data, "--db", database, str(file)).stderr.startswith("Imported 0 records")


def test_what_is_nested_as_deep_as_can_be_is_imported(tmp_path: Path) -> None:
    """Unknown fields of a config are kept one level deeper than they came."""
    one, other = str(tmp_path / "one.sqlite3"), str(tmp_path / "other.sqlite3")
    body = '{"project": "p", "config": {"type": "model", "model": "m", "x": %s}}'
    with served(one) as url:
        answers = [
            requests.post(
                f"{url}/logs", data=body % ("[" * depth + "]" * depth), timeout=PATIENCE
            ).status_code
            for depth in (199, 200)
        ]
    assert answers == [200, 422]
    lines = done(export_data, "--db", one).stdout
    assert "[" * 199 in lines
    done(import_data, "--db", other, "-", text=lines)
    assert done(export_data, "--db", other).stdout == lines


@pytest.fixture
def full_disk() -> Path:
    """A file that nothing can be written to."""
    path = Path("/dev/full")
    if not path.exists():
        pytest.skip("there is no device that is always full")
    return path


def test_an_export_to_a_full_disk_is_one_clear_line(tmp_path: Path, lines: str, full_disk: Path) -> None:
    """Also if it is so short that it is only written at its end."""
    database = str(tmp_path / "database")
    for text in (lines.splitlines()[0], lines):
        done(import_data, "--db", database, "-", text=text)
        result = run(export_data, "--db", database, str(full_disk))
        assert result.exit_code == 1
        assert result.output == (
            f"Error: cannot write to {full_disk}: No space left on device; the output is incomplete\n"
        )


@pytest.mark.slow
def test_an_export_to_a_redirected_output_on_a_full_disk_is_one_clear_line(
    tmp_path: Path, lines: str, full_disk: Path
) -> None:
    """Python tells nothing of its own at the end."""
    database = str(tmp_path / "database")
    done(import_data, "--db", database, "-", text=lines)
    command: list[str | Path] = [HL_SESSIONS, "export", "--db", database]
    with full_disk.open("wb") as full:
        process = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=PATIENCE, check=False
        )
    assert process.returncode == 1
    assert process.stderr == (
        "Error: cannot write to the standard output: No space left on device; the output is incomplete\n"
    )


@pytest.mark.slow
def test_an_export_that_breaks_off_says_so(postgresql: Any) -> None:
    """It exits with 1, and has written nothing twice, because written lines cannot be taken back."""
    database = postgresql.new_database()
    with served(database) as url:
        given = [{"project": "p", "output": "x" * 500}] * 3000
        requests.post(f"{url}/logs", json=given, timeout=30).raise_for_status()
    command = [Path(sys.executable).with_name("hl-sessions"), "export", "--db", database]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        # The rest does not fit into a pipe, so the command waits for a reader in the middle of its work.
        written = process.stdout.read(200_000)
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        written += process.stdout.read()
        assert b"Error: the database broke off" in process.stderr.read()
    assert process.returncode == 1
    ids = [json.loads(line).get("id") for line in written.splitlines()]
    assert 0 < len(ids) == len(set(ids)) < len(given)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 1: this is not JSON"),
        ("[" * 100_000, "line 1: this is not JSON"),
        ('{"record": NaN}', "line 1: this is not JSON"),
        ("[" * 250 + "Infinity" + "]" * 250, "line 1: this is not JSON"),
        ("[]", "line 1: this is no line of an export"),
        ('{"record": "keys"}', "line 1: this is no line of an export"),
        ('{"record": "organisations", "name": "SECRET"}', "line 1: 'team_id' is missing"),
        (
            '{"record": "organisations", "name": 5, "team_id": "t", "created_at": "2025-01-01T00:00:00Z"}',
            "line 1: 'name' is of the wrong type",
        ),
        (
            (
                '{"record": "projects", "id": "a", "name": "SECRET", "organisation": "SECRET", "created_at": '
                '"2025-01-01T00:00:00Z", "updated_at": "2025-01-01T00:00:00Z"}'
            ),
            "line 1: the organisation is in no line before",
        ),
        (
            (
                '{"record": "organisations", "name": "SECRET", "team_id": "t", "created_at": '
                '"2025-01-01T00:00:00Z", "SECRET": 1}'
            ),
            "line 1: it has fields that no export has",
        ),
        (
            '{"record": "feedback", "id": "a", "log_id": "SECRET", "type": "t", "value": 1}',
            "line 1: 'created_at' is missing",
        ),
        (
            (
                '{"record": "feedback", "id": "a", "log_id": "SECRET", "session_id": "SECRET", "type": "t", '
                '"value": 1, "created_at": "2025-01-01T00:00:00Z"}'
            ),
            "line 1: one of 'log_id' and 'session_id' is required",
        ),
        (
            (
                '{"record": "projects", "id": "a", "name": "SECRET", "feedback_types": [{"type": 5}], '
                '"created_at": "2025-01-01T00:00:00Z", "updated_at": "2025-01-01T00:00:00Z"}'
            ),
            "line 1: 'feedback_types' is of the wrong type",
        ),
        *(
            (
                (
                    f'{{"record": "sessions", "id": "a", "metadata": {metadata}, '
                    '"created_at": "2025-01-01T00:00:00Z", "updated_at": "2025-01-01T00:00:00Z"}'
                ),
                "line 1: 'metadata' is of the wrong type, or out of range",
            )
            for metadata in ('["SECRET"]', '{"SECRET": [1e400]}')
        ),
    ],
    ids=lambda value: value[:60],
)
def test_a_line_that_is_none_is_named(database: str, line: str, message: str) -> None:
    """The command exits with 1, and names the line but nothing of its content."""
    done(db, "upgrade", "--db", database)
    result = run(import_data, "--db", database, "-", text=f"{line}\n")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {message}")
    assert result.stderr.endswith("; nothing has been imported\n")
    assert "SECRET" not in result.stderr
    assert exported(database) == []


def test_a_file_that_is_no_export_leaves_no_database_behind(tmp_path: Path) -> None:
    table = tmp_path / "out.csv"
    table.write_text("id,output\n")
    result = run(import_data, "--db", str(tmp_path / "database.sqlite3"), str(table))
    assert result.output == "Error: line 1: this is not JSON; nothing has been imported\n"
    assert list(tmp_path.iterdir()) == [table]


def test_an_import_that_breaks_off_tells_what_it_has_done(database: str) -> None:
    """Lines are imported some at a time."""
    named = (
        '{"record": "organisations", "name": "%d", "team_id": "%d", "created_at": "2025-01-01T00:00:00Z"}\n'
    )
    text = "".join(named % (number, number) for number in range(510))
    result = run(import_data, "--db", database, "-", text=f"{text}id,output\n")
    told = re.fullmatch(
        r"Error: line 511: this is not JSON; the lines up to (\d+) have been imported\n", result.output
    )
    assert told is not None
    assert len(exported(database)) == int(told[1])


def test_a_reference_id_names_one_record(database: str, lines: str) -> None:
    """A line with the reference ID of another record of the database is refused, and its import with it."""
    records = [json.loads(line) for line in LINE.findall(lines)]
    *organisations, session = (
        record
        for record in records
        if record["record"] == "organisations" or record.get("reference_id") == "session 0"
    )
    done(import_data, "--db", database, "-", text="\n".join(map(json.dumps, [*organisations, session])))
    before = exported(database)
    other = session | {"id": "sesh_other"}
    result = run(import_data, "--db", database, "-", text="\n".join(map(json.dumps, [*organisations, other])))
    assert result.exit_code == 1
    assert "line 3: another record has this 'reference_id' in the database" in result.stderr
    assert exported(database) == before


def test_parents_in_lines_make_no_circle(tmp_path: Path, lines: str) -> None:
    """A datapoint can only be nested in one of an earlier line, never in itself or its own children."""
    records = [json.loads(line) for line in LINE.findall(lines)]
    first, *_, last = (number for number, record in enumerate(records) if record["record"] == "logs")
    inner = next(number for number, record in enumerate(records) if "parent_id" in record)
    for number, parent in ((last, last), (first, inner)):
        around = [dict(record) for record in records]
        around[number]["parent_id"] = records[parent]["id"]
        text = "".join(json.dumps(record) + "\n" for record in around)
        result = run(import_data, "--db", str(tmp_path / "database.sqlite3"), "-", text=text)
        assert result.exit_code == 1
        assert f"line {number + 1}: 'parent_id' refers to a record that is in no line before" in result.stderr


@pytest.mark.parametrize(
    ("column", "value"),
    [("prompt_tokens", 2**63), ("output_tokens", -1), ("prompt_cost", 1e16), ("duration", 10**400)],
)
def test_a_number_out_of_range_is_refused(tmp_path: Path, lines: str, column: str, value: float) -> None:
    """Values that the API refuses are not imported either."""
    records = [json.loads(line) for line in LINE.findall(lines)]
    number, log = next((n, record) for n, record in enumerate(records, 1) if record["record"] == "logs")
    log[column] = value
    text = "".join(json.dumps(record) + "\n" for record in records)
    result = run(import_data, "--db", str(tmp_path / "database.sqlite3"), "-", text=text)
    assert result.exit_code == 1
    assert f"line {number}: '{column}' is of the wrong type, or out of range" in result.stderr


def test_an_empty_error_is_imported_as_none(tmp_path: Path, lines: str) -> None:
    """As the API takes it: an earlier version may have exported one."""
    records = [json.loads(line) for line in LINE.findall(lines)]
    of_logs = [record for record in records if record["record"] == "logs"]
    of_logs[0]["error"], of_logs[1]["error"] = "", "late"
    path = str(tmp_path / "database.sqlite3")
    done(import_data, "--db", path, "-", text="".join(json.dumps(record) + "\n" for record in records))
    errors = {record["id"]: record["error"] for record in exported(path) if "error" in record}
    assert of_logs[0]["id"] not in errors
    assert errors[of_logs[1]["id"]] == "late"


def test_prune_deletes_what_has_not_changed(database: str, lines: str) -> None:
    """Old sessions go with their datapoints, and so do old datapoints without one. A server keeps running."""
    old = [json.loads(line) for line in LINE.findall(lines)]
    for record in old:
        if record["record"] in {"sessions", "logs"}:
            record.update(dict.fromkeys(("created_at", "updated_at"), "2025-01-01T00:00:00Z"))
    young = next(record for record in old if record.get("reference_id") == "session 2")
    young["updated_at"] = "2999-01-01T00:00:00Z"
    text = "".join(json.dumps(record) + "\n" for record in old)
    done(import_data, "--db", database, "-", text=text)
    settings = ServerSettings(port=0, database=database)
    with serving_in_background(settings) as url, requests.Session() as http:
        http.post(f"{url}/logs", json={"project": "alone"}, timeout=PATIENCE)
        result = done(prune, "--db", database, "--older-than", "90d")
        assert result.stdout.startswith("Deleted 3 sessions and 7 datapoints without a change since 20")
        projects = http.get(f"{url}/projects", timeout=PATIENCE).json()["records"]
        counts = {project["name"]: project["data_count"] for project in projects}
        assert counts == {"project 0": 1, "project 1": 1, "alone": 1}
        totals = [
            http.get(f"{url}/sessions?project_id={project['id']}", timeout=PATIENCE).json()["total"]
            for project in projects
        ]
        assert sorted(totals) == [0, 1, 1]
    kept = exported(database)
    assert [record["id"] for record in kept if record["record"] == "sessions"] == [young["id"]]
    given = [record for record in kept if record["record"] == "feedback"]
    assert len(given) == 3
    assert {record["session_id"] for record in given if "session_id" in record} == {young["id"]}
    assert run(prune, "--db", database, "--older-than", "90d").stdout.startswith("Deleted 0 sessions and 0")


def test_prune_goes_on_until_all_is_deleted(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In any number of steps: many sessions, a large session, and datapoints without a session."""
    monkeypatch.setattr(deleting, "_LONGEST", 0)
    with served(database) as url, requests.Session() as http:

        def log(**fields: Any) -> None:
            http.post(f"{url}/logs", json=[{"project": "p", **fields}] * 120, timeout=60).raise_for_status()

        log(session_reference_id="old")
        log(created_at="0001-01-01T00:00:00Z")
        log()
        references = [{"project": f"{n % 2}", "session_reference_id": f"{n}"} for n in range(300)]
        http.post(f"{url}/logs", json=references, timeout=60).raise_for_status()
    age(database)
    with served(database) as url, requests.Session() as http:
        http.post(f"{url}/logs", json={"project": "p", "session_reference_id": "new"}, timeout=PATIENCE)
        # An old session that is used again.
        http.post(f"{url}/logs", json={"project": "p", "session_reference_id": "7"}, timeout=PATIENCE)
        # An old datapoint that is stored now.
        late = {"project": "p", "created_at": "2025-01-01T00:00:00Z"}
        http.post(f"{url}/logs", json=late, timeout=PATIENCE)
        result = done(prune, "--db", database, "--older-than", "1h")
        assert result.stdout.startswith("Deleted 300 sessions and 659 datapoints")
        projects = http.get(f"{url}/projects", timeout=PATIENCE).json()["records"]
        assert {project["name"]: project["data_count"] for project in projects} == {"p": 3, "0": 0, "1": 1}
        totals = {
            project["name"]: http.get(f"{url}/sessions?project_id={project['id']}", timeout=PATIENCE).json()
            for project in projects
        }
        assert {name: page["total"] for name, page in totals.items()} == {"p": 2, "0": 0, "1": 1}
        assert [one["datapoints_count"] for one in totals["p"]["records"]] == [1, 2]


@pytest.mark.slow
def test_prune_waits_for_nobody(own_postgresql: Any) -> None:
    """Records that another transaction has locked are skipped."""
    database = own_postgresql.new_database()
    with served(database) as url:
        given = [{"project": "p", "session_reference_id": name} for name in ("a", "b", "c")]
        created = requests.post(f"{url}/logs", json=[*given, {"project": "p"}], timeout=PATIENCE).json()
    age(database)
    with psycopg.connect(database) as using:
        using.execute("SELECT FROM sessions WHERE id = %s FOR KEY SHARE", [created[0]["session_id"]])
        for log in created[2:]:
            using.execute("SELECT FROM logs WHERE id = %s FOR NO KEY UPDATE", [log["id"]])
        result = done(prune, "--db", database, "--older-than", "1h")
        assert result.stdout.startswith("Deleted 1 session and 1 datapoint ")
    assert done(prune, "--db", database, "--older-than", "1h").stdout.startswith("Deleted 2 sessions and 3")
    assert own_postgresql.errors() == []


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        *((given, "give a number and one of h, d, w") for given in ("90", "d", "-1d", "90 days", "1e3d")),
        ("0d", "give more than 0"),
    ],
)
def test_an_age_that_is_none_is_refused(tmp_path: Path, given: str, problem: str) -> None:
    """The command explains ages, and changes nothing."""
    database = tmp_path / "database.sqlite3"
    result = run(prune, "--db", str(database), f"--older-than={given}")
    assert result.exit_code == 2
    assert f"{problem}, as in 90d, not '{given}'" in result.output
    assert not database.exists()


def test_upgrade_says_what_it_did(database: str) -> None:
    """A new database gets its tables, and an up-to-date one is not changed."""
    made = done(db, "upgrade", "--db", database).output
    told = re.fullmatch(r"Made the tables, of revision (\d{4})\n", made)
    assert told is not None
    again = done(db, "upgrade", "--db", database).output
    assert again == f"The database is up to date, at revision {told[1]}\n"
