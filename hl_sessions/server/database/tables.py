"""The tables, in terms that every database of SQLAlchemy understands.

Each table has a ``sequence``, the order of arrival, which never leaves the server: IDs tell only the time,
which two rows may share. Everything belongs to one organisation, whose keys open nothing of another:
``organisation_id`` is the ``sequence`` of the organisation.
"""

from collections.abc import Callable
from datetime import datetime, timezone
from math import copysign, isinf
from sys import float_info
from typing import Any, Final

from pydantic_core import to_json
from sqlalchemy import (
    DDL,
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    event,
)


class UTCDateTime(TypeDecorator[datetime]):
    """A point in time, given and read as an aware ``datetime`` in UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Restore the time zone, which SQLite does not store."""
        return value if value is None or value.tzinfo else value.replace(tzinfo=timezone.utc)


def json_for_database(value: Any) -> str:
    """Return the JSON to store: letters are not escaped, so that a search finds them."""
    return to_json(value).decode()


class ExactJSON(TypeDecorator[Any]):
    """JSON in which numbers stay exactly as they are.

    SQLite's JSON columns turn texts that look like numbers into integers of 64 bits or floats, but leave
    bytes as they are.
    """

    impl = JSON
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any] | None:
        """Return the function that turns a value into the JSON of the column."""
        return _to_sqlite if dialect.name == "sqlite" else super().bind_processor(dialect)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> Any | None:  # noqa: ARG002
        """Replace an infinite float, which an earlier version may have stored: JSON has no infinity."""
        return copysign(float_info.max, value) if isinstance(value, float) and isinf(value) else value


def _to_sqlite(value: Any) -> str | bytes | None:
    if value is None:
        return None
    json = to_json(value)
    return json if isinstance(value, int | float) else json.decode()


metadata = MetaData()

# SQLite numbers rows by itself only in a column of exactly the type INTEGER.
_Sequence: Final = BigInteger().with_variant(Integer, "sqlite")


def _sequence() -> Column[int]:
    return Column("sequence", _Sequence, primary_key=True)


def _json(name: str) -> Column[Any]:
    return Column(name, ExactJSON(none_as_null=True))


def _organisation() -> Column[int]:
    return Column("organisation_id", ForeignKey(organisations.c.sequence), nullable=False)


organisations = Table(
    "organisations",
    metadata,
    _sequence(),
    # The ID that the protocol has for the team of a project.
    Column("team_id", String, nullable=False, unique=True),
    Column("name", String, nullable=False, unique=True),
    Column("created_at", UTCDateTime, nullable=False),
)

keys = Table(
    "keys",
    metadata,
    _sequence(),
    Column("id", String, nullable=False, unique=True),
    _organisation(),
    Column("name", String, nullable=False),
    Column("hash", String, nullable=False, unique=True),
    Column("created_at", UTCDateTime, nullable=False),
    # Revoked keys stay: a server is open only if it has never had a key.
    Column("revoked_at", UTCDateTime),
)

# The readers who are signed in to the page.
sign_ins = Table(
    "sign_ins",
    metadata,
    # A hash of the cookie and its key: see ``page.security.sign_in``.
    Column("hash", String, primary_key=True),
    # No foreign key, because the configured key is not in the database.
    Column("key_id", String, nullable=False),
    Column("expires_at", UTCDateTime, nullable=False),
)

projects = Table(
    "projects",
    metadata,
    _sequence(),
    Column("id", String, nullable=False, unique=True),
    _organisation(),
    Column("name", String, nullable=False),
    Column("created_at", UTCDateTime, nullable=False),
    Column("updated_at", UTCDateTime, nullable=False),
    # Updated with each change, because counting takes longer the more there are: see ``records.counts``.
    Column("datapoints_count", BigInteger, nullable=False, server_default="0"),
    Column("sessions_count", BigInteger, nullable=False, server_default="0"),
    # The types that the project defines: see ``protocol.feedback_types``.
    _json("feedback_types"),
    UniqueConstraint("organisation_id", "name", name="project_names"),
)

sessions = Table(
    "sessions",
    metadata,
    _sequence(),
    Column("id", String, nullable=False, unique=True),
    _organisation(),
    Column("reference_id", String),
    Column("created_at", UTCDateTime, nullable=False),
    Column("updated_at", UTCDateTime, nullable=False),
    # Fields that callers set.
    Column("name", Text),
    Column("user", Text),
    _json("metadata"),
    Column("ended_at", UTCDateTime),
    # The session before this one in the same conversation, which need not exist.
    Column("previous_id", String),
    UniqueConstraint("organisation_id", "reference_id", name="session_references"),
    Index("sessions_of_organisation", "organisation_id", "created_at", "sequence"),
)

# What sessions are found by: see ``finding.few_sessions``.
for _told in ("user", "name"):
    _is_told = sessions.c[_told].is_not(None)
    Index(
        f"sessions_by_{_told}",
        sessions.c.organisation_id,
        sessions.c[_told],
        sqlite_where=_is_told,
        postgresql_where=_is_told,
    )

_has_previous = sessions.c.previous_id.is_not(None)
Index(
    "sessions_after_another",
    sessions.c.previous_id,
    sqlite_where=_has_previous,
    postgresql_where=_has_previous,
)

# The members of the metadata of sessions, for filters: see ``records.session_metadata``.
session_metadata = Table(
    "session_metadata",
    metadata,
    Column("session_sequence", ForeignKey(sessions.c.sequence, ondelete="CASCADE"), primary_key=True),
    Column("key", String, primary_key=True),
    _organisation(),
    # The value as a text and, if it is a number, as a number.
    Column("text", Text),
    Column("number", Float),
    Index("session_metadata_by_text", "organisation_id", "key", "text", "session_sequence"),
    Index("session_metadata_by_number", "organisation_id", "key", "number", "session_sequence"),
    sqlite_with_rowid=False,
)

# How many datapoints of each project are in each session; never zero.
project_sessions = Table(
    "project_sessions",
    metadata,
    Column("project_id", ForeignKey(projects.c.id), primary_key=True),
    Column("session_sequence", ForeignKey(sessions.c.sequence), primary_key=True),
    Column("datapoints_count", BigInteger, nullable=False),
    Index("projects_of_session", "session_sequence"),
    sqlite_with_rowid=False,
)

# Counts and sums of the datapoints of each session: see ``records.session_totals``. The rows are short, so
# all of them can be read in a moment, and no index has to follow their changes. First come the columns of
# filters, because databases read those before a column, too.
session_totals = Table(
    "session_totals",
    metadata,
    Column(
        "session_sequence",
        ForeignKey(sessions.c.sequence, ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    _organisation(),
    # Seconds since 1970: the start of the first datapoint, and the end of the datapoint that ended last.
    Column("first_at", Float),
    Column("last_at", Float),
    # The labels of the datapoints of the session, as bits: see ``records.labels``.
    Column("sources", BigInteger, nullable=False),
    Column("models", BigInteger, nullable=False),
    Column("environments", BigInteger, nullable=False),
    Column("projects", BigInteger, nullable=False),
    # What feedback may be on the session and its datapoints, as bits: see ``records.feedback``.
    Column("feedback", BigInteger, nullable=False),
    # What members the metadata of the session and its datapoints may have: see ``records.session_metadata``.
    Column("metadata_low", BigInteger, nullable=False),
    Column("metadata_high", BigInteger, nullable=False),
    # Which frequent members they certainly have, as bits: see ``records.frequent_members``.
    Column("members", BigInteger, nullable=False),
    # Exact integers, however large the sum: sums of fractions depend on the order of additions and
    # subtractions.
    Column("nanodollars", Float, nullable=False),
    Column("tokens", Float, nullable=False),
    Column("datapoints", BigInteger, nullable=False),
    Column("errors", BigInteger, nullable=False),
    # Seconds since 1970: the creation of the session.
    Column("began_at", Float, nullable=False),
    Column("prompt_tokens", Float, nullable=False),
    Column("output_tokens", Float, nullable=False),
)

# Sources, models, environments and projects of datapoints: see ``records.labels``. Members of metadata that
# many sessions have: see ``records.frequent_members``.
labels = Table(
    "labels",
    metadata,
    _sequence(),
    _organisation(),
    Column("kind", String, nullable=False),
    Column("value", String, nullable=False),
    # The bit of the label in the totals of a session; the 64th label of a kind shares that of the first.
    Column("bit", BigInteger, nullable=False),
    UniqueConstraint("organisation_id", "kind", "value", name="label_values"),
)

# How many datapoints with each label, except for projects, are in each session; never zero.
session_labels = Table(
    "session_labels",
    metadata,
    Column("session_sequence", ForeignKey(sessions.c.sequence, ondelete="CASCADE"), primary_key=True),
    Column("label_sequence", ForeignKey(labels.c.sequence), primary_key=True),
    Column("datapoints", BigInteger, nullable=False),
    Index("sessions_of_label", "label_sequence", "session_sequence"),
    sqlite_with_rowid=False,
)

logs = Table(
    "logs",
    metadata,
    _sequence(),
    Column("id", String, nullable=False, unique=True),
    _organisation(),
    Column("reference_id", String),
    Column("project_id", ForeignKey(projects.c.id), nullable=False),
    Column("session_id", ForeignKey(sessions.c.id)),
    # A nested datapoint outlives its parent.
    Column("parent_id", ForeignKey("logs.id", ondelete="SET NULL"), index=True),
    Column("created_at", UTCDateTime, nullable=False),
    Column("updated_at", UTCDateTime, nullable=False),
    Column("save", Boolean, nullable=False),
    Column("config_id", String),
    _json("config"),
    Column("source", String),
    Column("source_datapoint_id", String),
    Column("environment", String),
    _json("metadata"),
    _json("inputs"),
    _json("messages"),
    Column("output", Text),
    _json("output_message"),
    _json("judgment"),
    Column("error", Text),
    Column("stdout", Text),
    Column("duration", Float),
    Column("prompt_tokens", BigInteger),
    Column("output_tokens", BigInteger),
    Column("prompt_cost", Float),
    Column("output_cost", Float),
    _json("provider_request"),
    _json("provider_response"),
    UniqueConstraint("organisation_id", "reference_id", name="log_references"),
    Index("logs_of_session", "session_id", "created_at", "sequence"),
    Index("logs_of_project", "project_id", "created_at", "sequence"),
)

# For the few logs with an error, which are counted over time.
_has_error = logs.c.error.is_not(None)
Index(
    "errors_of_project",
    logs.c.project_id,
    logs.c.created_at,
    sqlite_where=_has_error,
    postgresql_where=_has_error,
)

feedback = Table(
    "feedback",
    metadata,
    _sequence(),
    Column("id", String, nullable=False, unique=True),
    Column("log_id", ForeignKey(logs.c.id, ondelete="CASCADE"), index=True),
    Column("type", String, nullable=False, index=True),
    Column("value", ExactJSON, nullable=False),
    Column("user", String),
    Column("created_at", UTCDateTime, nullable=False),
    Column(
        "session_id",
        ForeignKey(sessions.c.id, ondelete="CASCADE", name="feedback_session_id_fkey"),
        index=True,
    ),
    # True for feedback that was given on the page, where its reader can change it.
    Column("from_page", Boolean),
    CheckConstraint("(log_id IS NULL) <> (session_id IS NULL)", name="feedback_on_one"),
)

# Calls that must not be repeated, and their answers: see ``records.idempotency``.
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    _sequence(),
    _organisation(),
    Column("key", String, nullable=False),
    Column("request_hash", String, nullable=False),
    _json("answer"),
    Column("created_at", UTCDateTime, nullable=False),
    UniqueConstraint("key", "organisation_id", name="idempotency_keys_of_organisation"),
)

# The process that does work which only one needs to do.
leases = Table(
    "leases",
    metadata,
    Column("name", String, primary_key=True),
    Column("holder", String, nullable=False),
    Column("expires_at", UTCDateTime, nullable=False),
)

# The text index, from which a search rules out datapoints without reading them: see ``search_index``.
search_segments = Table(
    "search_segments",
    metadata,
    Column("first", _Sequence, primary_key=True, autoincrement=False),
    Column("last", _Sequence, nullable=False),
    # The sequences at which its blocks begin.
    Column("starts", ExactJSON, nullable=False),
    # Upper limits of the segment, in the orders of lists.
    Column("newest_at", UTCDateTime, nullable=False),
    Column("newest_session", _Sequence, nullable=False),
    Column("newest_session_at", UTCDateTime, nullable=False),
)

# The bits of the blocks, some buckets in each row: see ``search_signature``.
search_bits = Table(
    "search_bits",
    metadata,
    Column("number", _Sequence, primary_key=True, autoincrement=False),
    Column("bits", LargeBinary, nullable=False),
)

# The ranges of the numbers in the metadata of the blocks, by a bucket of the key: see ``search_signature``.
search_numbers = Table(
    "search_numbers",
    metadata,
    Column("segment", _Sequence, primary_key=True, autoincrement=False),
    Column("bucket", _Sequence, primary_key=True, autoincrement=False),
    # A block, and its least and greatest number, for each block with such numbers.
    Column("ranges", ExactJSON, nullable=False),
    sqlite_with_rowid=False,
)

# Datapoints whose texts have changed, so that their bits may be outdated.
search_changes = Table(
    "search_changes",
    metadata,
    _sequence(),
    Column("log_sequence", _Sequence, nullable=False),
    sqlite_autoincrement=True,
)

# SQLite reuses the numbers of the newest rows after they were deleted.
event.listen(
    metadata,
    "after_create",
    DDL(  # type: ignore[no-untyped-call]
        "CREATE TRIGGER search_segments_of_deleted AFTER DELETE ON logs "
        "WHEN coalesce((SELECT max(sequence) FROM logs), 0) "
        "< (SELECT last FROM search_segments ORDER BY first DESC LIMIT 1) "
        "BEGIN DELETE FROM search_segments "
        "WHERE last > (SELECT coalesce(max(sequence), 0) FROM logs); END"
    ).execute_if(dialect="sqlite"),
)
