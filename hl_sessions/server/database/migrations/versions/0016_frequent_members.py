"""Note the frequent members of metadata that a session certainly has, as bits."""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

_SAME: Final = (
    "session_sequence, organisation_id, first_at, last_at, sources, models, environments, projects, feedback,"
    " metadata_low, metadata_high, nanodollars, tokens, datapoints, errors, began_at, prompt_tokens,"
    " output_tokens"
)


def upgrade() -> None:
    """Make the table of totals anew, so that the bits come before what filters seldom read."""
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
            for name in (
                *("sources", "models", "environments", "projects", "feedback"),
                *("metadata_low", "metadata_high", "members"),
            )
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
        f"INSERT INTO session_totals ({_SAME}, members)"  # noqa: S608 - our names
        f" SELECT {_SAME}, 0 FROM earlier_totals ORDER BY session_sequence"
    )
    op.execute("DROP TABLE earlier_totals")
