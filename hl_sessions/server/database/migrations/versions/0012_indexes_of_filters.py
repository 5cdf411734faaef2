"""Find sessions by what callers tell of them and by their labels, and feedback by its type."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Make the indexes."""
    for told in ("user", "name"):
        is_told = sa.text(f'"{told}" IS NOT NULL')
        op.create_index(
            f"sessions_by_{told}",
            "sessions",
            ["organisation_id", told],
            sqlite_where=is_told,
            postgresql_where=is_told,
        )
    op.create_index("sessions_of_label", "session_labels", ["label_sequence", "session_sequence"])
    op.create_index(op.f("ix_feedback_type"), "feedback", ["type"])
