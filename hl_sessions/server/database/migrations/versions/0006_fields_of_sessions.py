"""Store the fields that callers set on sessions."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Change the tables."""
    op.add_column("sessions", sa.Column("name", sa.Text(), nullable=True))
    op.add_column("sessions", sa.Column("user", sa.Text(), nullable=True))
    op.add_column("sessions", sa.Column("metadata", sa.JSON(), nullable=True))
    op.add_column("sessions", sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True))
