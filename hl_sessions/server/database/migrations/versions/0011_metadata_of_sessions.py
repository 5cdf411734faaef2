"""Store the members of the metadata of sessions, for filters."""

import json
from collections.abc import Iterator
from typing import Any, Final

import sqlalchemy as sa
from alembic import op
from pydantic_core import to_json

revision = "0011"
down_revision = "0010"

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_LONGEST: Final = 200  # characters
_GREATEST: Final = 1e300  # of numbers: integers of JSON have any number of digits

_READ: Final = sa.text(
    "SELECT sequence, organisation_id, CAST(metadata AS TEXT) AS metadata FROM sessions"
    " WHERE metadata IS NOT NULL AND sequence > :last ORDER BY sequence LIMIT 1000"
)


def upgrade() -> None:
    """Make the table, and fill it from the stored sessions."""
    table = op.create_table(
        "session_metadata",
        sa.Column("session_sequence", _SEQUENCE, nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("organisation_id", _SEQUENCE, nullable=False),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("number", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["organisation_id"], ["organisations.sequence"]),
        sa.ForeignKeyConstraint(["session_sequence"], ["sessions.sequence"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("session_sequence", "key"),
        sqlite_with_rowid=False,
    )
    for column in ("text", "number"):
        columns = ["organisation_id", "key", column, "session_sequence"]
        op.create_index(f"session_metadata_by_{column}", "session_metadata", columns, unique=False)
    connection = op.get_bind()
    last = 0
    while rows := connection.execute(_READ, {"last": last}).all():
        last = rows[-1].sequence
        members = [member for row in rows for member in _members(row)]
        if members:
            op.bulk_insert(table, members)


def _members(row: Any) -> Iterator[dict[str, Any]]:
    for key, value in json.loads(row.metadata).items():
        text = value if isinstance(value, str) else to_json(value).decode()
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        number = float(value) if is_number and abs(value) < _GREATEST else None
        if value is not None and len(key) <= _LONGEST and (len(text) <= _LONGEST or number is not None):
            yield {
                "session_sequence": row.sequence,
                "organisation_id": row.organisation_id,
                "key": key,
                "text": text if len(text) <= _LONGEST else None,
                "number": number,
            }
