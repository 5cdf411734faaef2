"""Store the previous session of each session in a conversation."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0007"


def upgrade() -> None:
    """Change the tables."""
    op.add_column("sessions", sa.Column("previous_id", sa.String(), nullable=True))
    has_previous = sa.text("previous_id IS NOT NULL")
    op.create_index(
        "sessions_after_another",
        "sessions",
        ["previous_id"],
        sqlite_where=has_previous,
        postgresql_where=has_previous,
    )
