"""The totals of a session equal a new count, after any change of its datapoints."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from functools import partial
from itertools import count
from math import floor, inf
from threading import Event
from typing import Any

import pytest
from alembic import command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, Connection, and_, exists, func, select, text, update

from hl_sessions.server.database.database import Database
from hl_sessions.server.database.engines import for_migrating, open_engine
from hl_sessions.server.database.migrating import alembic_config
from hl_sessions.server.database.tables import (
    feedback,
    json_for_database,
    labels,
    logs,
    search_numbers,
    session_labels,
    session_metadata,
    session_totals,
    sessions,
)
from hl_sessions.server.finding.filter_conditions import holds, may_hold
from hl_sessions.server.finding.filter_language import Condition
from hl_sessions.server.finding.json_members import TextMember
from hl_sessions.server.protocol.requests import FeedbackRequest, LogRequest, UpdateLogRequest
from hl_sessions.server.records import frequent_members, member_noting
from hl_sessions.server.records import labels as labels_module
from hl_sessions.server.records.deleting import delete_some_of_project, delete_some_of_session
from hl_sessions.server.records.exporting import JSON_LINES, Selection, export_records
from hl_sessions.server.records.feedback import feedback_bit
from hl_sessions.server.records.feedback_creation import create_feedback
from hl_sessions.server.records.frequent_members import (
    give_bits,
    members_of,
    read_all_frequent_members,
)
from hl_sessions.server.records.importing import Importer
from hl_sessions.server.records.labels import BITS_OF, has_label
from hl_sessions.server.records.log_creation import create_logs
from hl_sessions.server.records.logs import LogUpdate, delete_logs, update_logs
from hl_sessions.server.records.member_noting import note_members, set_some
from hl_sessions.server.records.organisations import find_or_create_organisation
from hl_sessions.server.records.pruning import prune
from hl_sessions.server.records.sessions import NewSession, create_sessions, update_session
from hl_sessions.server.settings import ServerSettings
from tests.servers import opened_database
from tests.waiting import PATIENCE, wait_until

LOG_REQUESTS = TypeAdapter(list[LogRequest])
LONG_AGO = datetime(2020, 1, 1, tzinfo=timezone.utc)
BITS = {
    *("sources", "models", "environments", "projects", "feedback"),
    *("metadata_low", "metadata_high", "members"),
}

AT_ONCE = 100  # conditions in a statement

amounts = st.one_of(st.none(), st.integers(0, 10**12), st.integers(0, 9))
costs = st.one_of(st.none(), st.floats(0, 1).map(lambda cost: round(cost, 4)), st.floats(-1000, 1000))
KEYS = ["customer", "plan", "k" * 201]
VALUES = [
    "acme",
    "free",
    5,
    10**19,
    True,
    None,
    "x" * 33,
    "größe",
    "4.5",
    "nan",
    ".5",
    "-1",
    "Inf",
    "1e22",
    0.1 + 0.2,
    4.5,
    -0.0,
    5.0,
    1e22,
    ["a"],
    {"b": 1},
]
# As databases write these values, one so and another so.
TEXTS = [value for value in VALUES if isinstance(value, str)] + [
    *("5", "5.0", "10000000000000000000", "1.0e+19", "true", "1", "null", "0.3", "0.30000000000000004"),
    *("-0.0", "-0", "0.0", "4.50", "0.5"),
    *("1e22", "1e+22", "1.0e+22", '["a"]', '{"b":1}', "other"),
]
members = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES), max_size=3)
models = st.sampled_from(["small", "large", "larger", "x" * 201, ""])
CHANGES = {
    "error": st.sampled_from(["", "failed"]),
    "duration": st.floats(-1, 100),
    "prompt_tokens": amounts,
    "output_tokens": amounts,
    "prompt_cost": costs,
    "output_cost": costs,
    "config": models.map(lambda model: {"model": model}) | st.just({"type": "tool", "name": "model"}),
    "output": st.just("fine"),
    "metadata": members,
}
changes = st.fixed_dictionaries({}, optional=CHANGES)
datapoints = st.fixed_dictionaries(
    {"project": st.sampled_from("pq")},
    optional=CHANGES
    | {
        "session_reference_id": st.sampled_from("abc"),
        "source": st.sampled_from(["retrieval", "answer", "", "y" * 300]),
        "environment": st.sampled_from(["production", "staging", "test"]),
        "created_at": st.integers(0, 10**9).map(
            lambda microseconds: (LONG_AGO + timedelta(microseconds=microseconds)).isoformat()
        ),
        "save": st.booleans(),
    },
)
places = st.integers(0, 99)
judgments = st.sampled_from(["good", "5", 5, 0.5, True])
operations = st.one_of(
    st.tuples(st.just("log"), st.lists(datapoints, min_size=1, max_size=8)),
    st.tuples(st.just("log"), st.lists(datapoints, min_size=1, max_size=8)),
    st.tuples(st.just("change"), st.lists(st.tuples(places, changes), min_size=1, max_size=3)),
    st.tuples(st.just("delete"), st.lists(places, min_size=1, max_size=3)),
    st.tuples(st.just("delete_session"), places),
    st.tuples(st.just("delete_project"), places),
    st.tuples(st.just("prune"), places),
    st.tuples(st.just("make_session"), members),
    st.tuples(st.just("tell"), st.tuples(places, members)),
    st.tuples(st.just("import_again"), places),
    st.tuples(st.just("judge"), st.tuples(places, judgments, st.booleans())),
    st.tuples(st.just("note"), st.booleans()),
)


class Kept:
    """The database work of a server, in an organisation of its own."""

    def __init__(self, database: Database, name: str) -> None:
        self.database = database
        self.organisation: int = self.write(lambda connection: find_or_create_organisation(connection, name))

    def write(self, change: Callable[[Connection], Any]) -> Any:
        return self.database.write_now(change)

    def ids(self, column: Any) -> list[Any]:
        query = select(column).where(column.table.c.organisation_id == self.organisation)
        return list(self.database.read_now(lambda connection: connection.scalars(query).all()))

    def one_of(self, column: Any, place: int) -> Any:
        ids = self.ids(column)
        return ids[place % len(ids)] if ids else None

    def log(self, given: list[dict[str, Any]]) -> None:
        requests = LOG_REQUESTS.validate_python(given)
        [answer] = self.write(lambda connection: create_logs(connection, [(self.organisation, requests)]))
        assert isinstance(answer, list)

    def change(self, given: list[tuple[int, dict[str, Any]]]) -> None:
        ids = self.ids(logs.c.id)
        updates = [
            (None, LogUpdate(self.organisation, "id", ids[place % len(ids)], UpdateLogRequest(**fields)))
            for place, fields in given
            if ids
        ]
        if updates:
            self.write(lambda connection: update_logs(connection, updates))

    def delete(self, given: list[int]) -> None:
        ids = self.ids(logs.c.id)
        doomed = [ids[place % len(ids)] for place in given if ids]
        if doomed:
            assert self.write(lambda connection: delete_logs(connection, self.organisation, doomed))

    def delete_session(self, place: int) -> None:
        session_id = self.one_of(sessions.c.id, place)
        self.delete_all(partial(delete_some_of_session, session_id=session_id))

    def delete_project(self, place: int) -> None:
        project_id = self.one_of(logs.c.project_id, place)
        self.delete_all(partial(delete_some_of_project, project_id=project_id))

    def delete_all(self, step: Callable[..., bool | None]) -> None:
        while self.write(partial(step, organisation_id=self.organisation)) is False:
            pass

    def prune(self, place: int) -> None:
        session_id = self.one_of(sessions.c.id, place)
        old = update(sessions).where(sessions.c.id == session_id).values(updated_at=LONG_AGO)
        self.write(lambda connection: connection.execute(old))
        for _ in prune(self.database, LONG_AGO + timedelta(hours=1)):
            pass

    def judge(self, given: tuple[int, Any, bool]) -> None:
        place, value, is_on_session = given
        column, name = (sessions.c.id, "session_id") if is_on_session else (logs.c.id, "data_id")
        subject = self.one_of(column, place)
        if subject is not None:
            request = FeedbackRequest.model_validate({"type": "score", "value": value, name: subject})
            answer = self.write(lambda connection: create_feedback(connection, self.organisation, [request]))
            assert isinstance(answer, list)

    def make_session(self, metadata: dict[str, Any] | None) -> None:
        session = NewSession(self.organisation, {"metadata": metadata})
        self.write(lambda connection: create_sessions(connection, [session]))

    def tell(self, given: tuple[int, dict[str, Any]]) -> None:
        place, metadata = given
        session_id = self.one_of(sessions.c.id, place)
        told = {"metadata": metadata}
        self.write(lambda connection: update_session(connection, self.organisation, "id", session_id, told))

    def import_again(self, place: int) -> None:
        """Import records that were exported before a session was deleted."""
        exported = self.database.read_now(
            lambda connection: b"".join(
                some for some, _ in export_records(connection, Selection(), JSON_LINES)
            )
        )
        lines = list(enumerate(exported.splitlines(keepends=True)))
        self.delete_session(place)
        self.write(partial(Importer().import_lines, lines=lines))

    def note(self, at_once: bool, share: int = 1) -> None:  # noqa: FBT001 - drawn
        """Take members for frequent ones; writers hear of them at once or never."""
        vars(frequent_members)["REFRESHED"] = -1.0 if at_once else inf
        members = [member for value in VALUES for member in members_of(dict.fromkeys(KEYS, value))]
        wanted = members[::share]
        self.write(partial(give_bits, organisation_id=self.organisation, wanted=wanted))
        last: int | None = 0
        while last is not None:
            last = self.write(partial(set_some, after=last))

    def totals(self, connection: Connection) -> dict[int, Any]:
        query = select(session_totals).where(session_totals.c.organisation_id == self.organisation)
        return {
            row["session_sequence"]: {name: row[name] for name in row if name not in BITS}
            for row in connection.execute(query).mappings()
        }

    def counted_anew(self, connection: Connection) -> dict[int, Any]:
        """Count the same from the datapoints themselves."""
        of_sessions = select(sessions).where(sessions.c.organisation_id == self.organisation)
        counted = {}
        for session in connection.execute(of_sessions).all():
            found = connection.execute(select(logs).where(logs.c.session_id == session.id)).all()
            prompt = sum(log.prompt_tokens or 0 for log in found)
            output = sum(log.output_tokens or 0 for log in found)
            begins = [log.created_at.timestamp() for log in found]
            ends = [log.created_at.timestamp() + (log.duration or 0) for log in found]
            costs = [cost or 0 for log in found for cost in (log.prompt_cost, log.output_cost)]
            counted[session.sequence] = {
                "session_sequence": session.sequence,
                "organisation_id": self.organisation,
                "began_at": pytest.approx(session.created_at.timestamp(), abs=1e-6),
                "datapoints": len(found),
                "errors": sum(log.error is not None for log in found),
                "tokens": prompt + output,
                "prompt_tokens": prompt,
                "output_tokens": output,
                "nanodollars": sum(floor(cost * 1e9 + 0.5) for cost in costs),
                "first_at": pytest.approx(min(begins), abs=1e-6) if found else None,
                "last_at": pytest.approx(max(ends), abs=1e-6) if found else None,
            }
        return counted

    def labelled(self, connection: Connection) -> Iterator[tuple[str, str, set[int], set[int]]]:
        """Return for each label the sessions that have it, and those that do not, by a search."""
        query = select(labels).where(labels.c.organisation_id == self.organisation)
        query = query.where(labels.c.kind.in_(BITS_OF))
        for label in connection.execute(query).all():
            condition = has_label(connection, self.organisation, label.kind, label.value)
            found = select(session_totals.c.session_sequence).where(
                session_totals.c.organisation_id == self.organisation
            )
            yield (
                label.kind,
                label.value,
                set(connection.scalars(found.where(condition))),
                set(connection.scalars(found.where(~condition))),
            )

    def hold(self, connection: Connection) -> None:
        assert self.totals(connection) == self.counted_anew(connection)
        labelled = self.labelled_anew(connection)
        everything = set(self.totals(connection))
        for kind, value, found, others in self.labelled(connection):
            assert found == labelled.pop((kind, value), set())
            assert others == everything - found
        assert not labelled
        self.holds_feedback(connection)
        self.holds_metadata(connection)

    def holds_feedback(self, connection: Connection) -> None:
        """Check that the totals rule out no session that has feedback."""
        of_session = sessions.c.id == func.coalesce(feedback.c.session_id, logs.c.session_id)
        query = (
            select(session_totals.c.feedback, feedback.c.type, feedback.c.value)
            .select_from(feedback)
            .outerjoin(logs, logs.c.id == feedback.c.log_id)
            .join(sessions, of_session)
            .join(session_totals, session_totals.c.session_sequence == sessions.c.sequence)
            .where(sessions.c.organisation_id == self.organisation)
        )
        for bits, kind, value in connection.execute(query):
            assert bits & feedback_bit(kind)
            assert bits & feedback_bit(kind, json_for_database(value))

    def holds_metadata(self, connection: Connection) -> None:
        """Check that the sessions found by a member of metadata are those that a look at each finds."""
        wanted = [Condition(f"metadata.{key}", "=", text) for key in KEYS for text in TEXTS]
        query = select(session_totals.c.session_sequence).order_by(session_totals.c.session_sequence)
        query = query.join(sessions, sessions.c.sequence == session_totals.c.session_sequence)
        query = query.where(session_totals.c.organisation_id == self.organisation)
        wanted += [replace(term, negated=True) for term in wanted[::4]]
        for begin in range(0, len(wanted), AT_ONCE):
            some = wanted[begin : begin + AT_ONCE]
            found = [
                and_(
                    *may_hold(connection, self.organisation, [term]),
                    holds(connection, self.organisation, term),
                )
                for term in some
            ]
            expected = [
                ~has_member_by_itself(term) if term.negated else has_member_by_itself(term) for term in some
            ]
            assert (
                connection.execute(query.add_columns(*found)).all()
                == connection.execute(query.add_columns(*expected)).all()
            )

    def labelled_anew(self, connection: Connection) -> dict[tuple[str, str], set[int]]:
        """Return the sessions of each label, from the datapoints themselves."""
        query = (
            select(
                *(sessions.c.sequence, logs.c.source, logs.c.environment, logs.c.config),
                logs.c.project_id,
            )
            .join(sessions, sessions.c.id == logs.c.session_id)
            .where(logs.c.organisation_id == self.organisation)
        )
        found: dict[tuple[str, str], set[int]] = {}
        for sequence, source, environment, config, project_id in connection.execute(query):
            named = {"source": source, "environment": environment, "model": config.get("model")}
            named["project"] = project_id
            for kind, value in named.items():
                if value and isinstance(value, str):
                    found.setdefault((kind, value[:200]), set()).add(sequence)
        return found


def has_member_by_itself(term: Condition) -> ColumnElement[bool]:
    """The condition that a session has a member of metadata, without any index."""
    key = term.name.removeprefix("metadata.")
    logged = exists().where(
        logs.c.session_id == sessions.c.id, TextMember(logs.c.metadata, key) == term.value
    )
    of_session = session_metadata.c.session_sequence == sessions.c.sequence
    told = exists().where(of_session, session_metadata.c.key == key, session_metadata.c.text == term.value)
    return logged.correlate(sessions) | told.correlate(sessions)


numbers = count()


@pytest.mark.parametrize(
    ("database", "examples"),
    [
        ("sqlite", 10),
        pytest.param("sqlite", 40, marks=pytest.mark.slow),
        pytest.param("postgresql", 10, marks=pytest.mark.slow),
    ],
    indirect=["database"],
)
def test_totals_are_what_is_counted_anew(
    database: str, examples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After logging, changes, deletions and imports in any order, even if labels share bits."""
    monkeypatch.setattr(labels_module, "BITS", 2)
    monkeypatch.setattr(frequent_members, "REFRESHED", 0.0)
    with opened_database(database) as opened:

        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        )
        @given(st.lists(operations, min_size=1, max_size=12), st.booleans())
        def hold(operations: list[tuple[str, Any]], at_once: bool) -> None:  # noqa: FBT001 - drawn
            kept = Kept(opened, f"organisation {next(numbers)}")
            kept.note(at_once, share=2)
            for name, argument in operations:
                getattr(kept, name)(argument)
            opened.read_now(kept.hold)

        hold()


@pytest.mark.parametrize(
    "database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)], indirect=True
)
def test_members_that_many_sessions_have_are_noted(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what has them, by writers that have heard of them, and forgotten by all."""
    for name, value in {"_MANY_SESSIONS": 9, "_SAMPLE": 10, "_FEWEST": 10, "_FREQUENT": 0.5}.items():
        monkeypatch.setattr(member_noting, name, value)
    monkeypatch.setattr(frequent_members, "REFRESHED", inf)
    with opened_database(database) as opened:
        kept = Kept(opened, "default")

        def log(number: int, plan: str, **reference: str) -> None:
            told = {"plan": plan, "seats": 5, "customer": f"c{number}"}
            session = {"project": "p", "session_reference_id": f"{number}"}
            kept.log([{**session, "metadata": told, **reference}])

        def change(reference: str, fields: dict[str, Any]) -> None:
            request = UpdateLogRequest(**fields)
            given = (None, LogUpdate(kept.organisation, "reference_id", reference, request))
            kept.write(lambda connection: update_logs(connection, [given]))

        def noted(member: str) -> set[int]:
            bit = select(labels.c.bit).where(labels.c.value == member).scalar_subquery()
            query = select(sessions.c.reference_id).join_from(sessions, session_totals)
            query = query.where(session_totals.c.members.bitwise_and(bit) != 0)
            return set(map(int, opened.read_now(lambda connection: connection.scalars(query).all())))

        for number in range(10):
            log(number, "free" if number else "paid", reference_id=f"log {number}")
        with monkeypatch.context() as with_less_memory:
            with_less_memory.setattr(member_noting, "_SAMPLED_DATAPOINTS", 5)
            # So few sessions show nothing.
            assert len(list(note_members(opened))) == 1
        assert len(list(note_members(opened))) == 3
        assert kept.ids(labels.c.value).count("plan=free") == 1
        assert not {"plan=paid", "customer=c1"} & set(kept.ids(labels.c.value))
        assert noted("plan=free") == set(range(1, 10))
        assert noted("seats=5") == set(range(10))
        # Nothing is lacking.
        assert len(list(note_members(opened))) == 1

        log(10, "free")
        kept.log([{"project": "p", "session_reference_id": "5", "reference_id": "bare"}])
        change("bare", {"duration": 2})
        change("log 1", {"metadata": {"plan": "free", "seats": 6}})
        assert noted("plan=free") == set(range(2, 10))
        monkeypatch.setattr(frequent_members, "REFRESHED", -1.0)
        log(11, "free")
        log(2, "free")
        change("log 3", {"metadata": {"plan": "free", "seats": 6}})
        change("log 6", {"duration": 2})
        kept.tell((0, {"plan": "free"}))
        kept.tell((0, {"tier": "gold"}))
        assert noted("plan=free") == {*range(2, 10), 11}
        assert noted("seats=5") == {0, 2, *range(4, 10), 11}
        change("log 2", {"metadata": {"plan": "paid"}})
        assert noted("plan=free") == {*range(3, 10), 11}
        monkeypatch.setattr(member_noting, "_SAMPLE", 12)
        list(note_members(opened))
        assert noted("plan=free") == set(range(1, 12))


@pytest.mark.parametrize(
    "database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)], indirect=True
)
def test_writers_side_by_side_lose_nothing(database: str) -> None:
    """Even if they use the same new labels, and name the same sessions in opposite orders."""
    with opened_database(database) as opened, ThreadPoolExecutor(4) as threads:
        kept = Kept(opened, "default")

        def log(turn: int) -> None:
            names = ["a", "b", "c"][:: -1 if turn % 2 else 1]
            logged = [
                {"session_reference_id": name, "source": f"{turn // 4}", "config": {"model": f"{name}{turn}"}}
                for name in names
            ]
            kept.log([{"project": "p", "prompt_tokens": turn, **fields} for fields in logged])

        kept.log([{"project": "p", "session_reference_id": name} for name in "abc"])
        list(threads.map(log, range(16)))
        opened.read_now(kept.hold)
        totals = opened.read_now(kept.totals)
    assert [one["datapoints"] for one in totals.values()] == [17] * 3
    assert [one["tokens"] for one in totals.values()] == [sum(range(16))] * 3


@pytest.mark.slow
@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_member_that_goes_while_it_is_noted_is_forgotten(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The change waits until the bit is set, and takes it back."""
    has_read, may_set = Event(), Event()

    def read_late(connection: Connection) -> Any:
        has_read.set()
        assert may_set.wait(PATIENCE)
        return read_all_frequent_members(connection)

    monkeypatch.setattr(member_noting, "read_all_frequent_members", read_late)
    monkeypatch.setattr(frequent_members, "REFRESHED", -1.0)
    with opened_database(database) as opened, ThreadPoolExecutor(2) as threads:
        kept = Kept(opened, "default")
        kept.log([{"project": "p", "session_reference_id": "a", "metadata": {"plan": "free"}}])
        members = [("plan", "free")]
        kept.write(partial(give_bits, organisation_id=kept.organisation, wanted=members))
        noting = threads.submit(kept.write, partial(set_some, after=0))
        assert has_read.wait(PATIENCE)
        changing = threads.submit(kept.change, [(0, {"metadata": {"plan": "acme"}})])
        waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        wait_until(
            lambda: changing.done() or opened.read_now(lambda connection: connection.scalar(waiting)) > 0
        )
        may_set.set()
        noting.result(PATIENCE)
        changing.result(PATIENCE)
        opened.read_now(kept.holds_metadata)


@pytest.mark.parametrize(
    "database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)], indirect=True
)
def test_an_upgrade_adds_up_what_is_stored(database: str) -> None:
    """As if each datapoint had been counted when it arrived."""
    with opened_database(database) as opened:
        kept = Kept(opened, "default")
        kept.make_session(None)
        kept.log(
            [
                {"project": "p", "session_reference_id": "a", "source": "y" * 300, "error": ""},
                {"project": "p", "session_reference_id": "a", "source": "", "environment": "production"},
                {"project": "q", "session_reference_id": "a", "config": {"model": "large"}, "duration": 2.5},
                {"project": "p", "session_reference_id": "b", "config": {"type": "tool", "name": "model"}},
                {"project": "p", "session_reference_id": "b", "prompt_tokens": 7, "output_tokens": 10**12},
                {"project": "p", "session_reference_id": "b", "prompt_cost": 0.1, "output_cost": 2.5e-9},
                {"project": "p", "source": "in no session", "prompt_tokens": 1},
                {"project": "p", "session_reference_id": "b", "created_at": "0001-01-01T00:00:00Z"},
                *({"project": "p", "session_reference_id": "c", "source": f"{n}"} for n in range(70)),
            ]
        )
        for place, value in enumerate(VALUES):
            told = {"customer": value, "plan": value}
            kept.log([{"project": "p", "session_reference_id": f"{place}", "metadata": told}])
            kept.make_session(told)
        for place, value in enumerate(["good", 5, True]):
            kept.judge((place, value, False))
            kept.judge((place, value, True))
        # JSON of another type than a model has, as an import may have it.
        other = update(logs).where(logs.c.source == "0").values(config={"model": {"name": "large"}})
        kept.write(lambda connection: connection.execute(other))
    engine = open_engine(ServerSettings(database=database).database_url)
    with for_migrating(engine).begin() as connection:
        for table in (session_labels, labels, session_totals, search_numbers):
            table.drop(connection)
        command.stamp(alembic_config(connection), "0006")
        command.upgrade(alembic_config(connection), "0007")
        command.stamp(alembic_config(connection), "0012")
        command.upgrade(alembic_config(connection), "head")
    engine.dispose()
    with opened_database(database) as opened:
        opened.read_now(kept.hold)


@pytest.mark.parametrize(
    "database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)], indirect=True
)
def test_an_upgrade_counts_no_empty_errors(database: str) -> None:
    """An earlier version stored them, and counted them as errors."""
    with opened_database(database) as opened:
        kept = Kept(opened, "default")
        failed = {"project": "p", "error": "failed"}
        kept.log(
            [
                *({**failed, "session_reference_id": "a", "output": one} for one in ("", "", "partly")),
                {**failed, "session_reference_id": "b"},
                {**failed, "output": ""},
            ]
        )
        emptied = update(logs).where(logs.c.output == "").values(error="")
        kept.write(lambda connection: connection.execute(emptied))
    engine = open_engine(ServerSettings(database=database).database_url)
    with for_migrating(engine).begin() as connection:
        command.stamp(alembic_config(connection), "0012")
        command.upgrade(alembic_config(connection), "0013")
        command.stamp(alembic_config(connection), "head")
    engine.dispose()
    with opened_database(database) as opened:
        opened.read_now(kept.hold)
        totals = opened.read_now(kept.totals)
        errors = opened.read_now(lambda connection: connection.scalars(select(logs.c.error)).all())
        assert [one["errors"] for one in totals.values()] == [1, 1]
        assert sorted(map(str, errors)) == ["None", "None", "None", "failed", "failed"]
