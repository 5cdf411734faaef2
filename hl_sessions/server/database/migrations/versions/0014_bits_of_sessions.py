"""Note the projects and the feedback of each session in its totals, as bits, for filters."""

from typing import Any, Final
from zlib import crc32

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_BITS: Final = 63

_FOUND: Final = """
CREATE TEMPORARY TABLE found_bits AS
SELECT session_sequence, sum(DISTINCT project) AS projects, sum(DISTINCT feedback) AS feedback
FROM (
  SELECT session_sequence, bit AS project, 0 AS feedback
  FROM project_sessions JOIN labels ON labels.kind = 'project' AND labels.value = project_id
  UNION ALL
  SELECT sessions.sequence, 0, bit
  FROM feedback JOIN feedback_bits
    ON feedback_bits.type = feedback.type AND feedback_bits.value = CAST(feedback.value AS TEXT)
  LEFT JOIN logs ON logs.id = feedback.log_id
  JOIN sessions ON sessions.id = coalesce(feedback.session_id, logs.session_id)
) AS found
GROUP BY 1
"""

_MAKE_LABELS: Final = """
INSERT INTO labels (organisation_id, kind, value, bit)
SELECT
  organisation_id, 'project', id,
  CAST(1 AS BIGINT)
    << CAST((row_number() OVER (PARTITION BY organisation_id ORDER BY sequence) - 1) % 63 AS INTEGER)
FROM projects
"""

_SAME: Final = (
    "session_sequence, organisation_id, sources, models, environments, began_at, datapoints, errors, tokens,"
    " prompt_tokens, output_tokens, nanodollars, first_at, last_at"
)


def upgrade() -> None:
    """Make the table of totals anew, so that its rows lie close together on each database."""
    op.execute(_MAKE_LABELS)
    _store_bits_of_feedback()
    op.execute(_FOUND)
    op.execute("CREATE TEMPORARY TABLE earlier_totals AS SELECT * FROM session_totals")
    op.drop_table("session_totals")
    op.create_table(
        "session_totals",
        sa.Column("session_sequence", _SEQUENCE, autoincrement=False, nullable=False),
        sa.Column("organisation_id", _SEQUENCE, nullable=False),
        sa.Column("first_at", sa.Float(), nullable=True),
        sa.Column("last_at", sa.Float(), nullable=True),
        *(
            sa.Column(name, sa.BigInteger(), nullable=False)
            for name in ("sources", "models", "environments", "projects", "feedback")
        ),
        sa.Column("nanodollars", sa.Float(), nullable=False),
        sa.Column("tokens", sa.Float(), nullable=False),
        sa.Column("datapoints", sa.BigInteger(), nullable=False),
        sa.Column("errors", sa.BigInteger(), nullable=False),
        sa.Column("began_at", sa.Float(), nullable=False),
        sa.Column("prompt_tokens", sa.Float(), nullable=False),
        sa.Column("output_tokens", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["organisation_id"], ["organisations.sequence"]),
        sa.ForeignKeyConstraint(["session_sequence"], ["sessions.sequence"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("session_sequence"),
    )
    op.execute(
        f"INSERT INTO session_totals ({_SAME}, projects, feedback)"  # noqa: S608 - our names
        f" SELECT {_SAME}, coalesce(projects, 0), coalesce(feedback, 0)"
        " FROM earlier_totals LEFT JOIN found_bits USING (session_sequence) ORDER BY session_sequence"
    )
    for table in ("earlier_totals", "found_bits", "feedback_bits"):
        op.execute(f"DROP TABLE {table}")


def _store_bits_of_feedback() -> None:
    """Store two bits for each kind of feedback: one for its type, and one for its type and value."""
    op.execute("CREATE TEMPORARY TABLE feedback_bits (type TEXT, value TEXT, bit BIGINT)")
    connection = op.get_bind()
    given = connection.execute(sa.text("SELECT DISTINCT type, CAST(value AS TEXT) FROM feedback"))
    rows: list[dict[str, Any]] = [
        {"type": kind, "value": value, "bit": 1 << crc32(name.encode()) % _BITS}
        for kind, value in given
        for name in (kind, f"{kind}={value}")
    ]
    if rows:
        connection.execute(sa.text("INSERT INTO feedback_bits VALUES (:type, :value, :bit)"), rows)
