"""Store feedback on sessions, whether it was given on the page, and the types of a project."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Change the tables."""
    # SQLite can only change this by making the table anew.
    with op.batch_alter_table("feedback") as feedback:
        feedback.alter_column("log_id", existing_type=sa.String(), nullable=True)
        feedback.add_column(sa.Column("session_id", sa.String(), nullable=True))
        feedback.add_column(sa.Column("from_page", sa.Boolean(), nullable=True))
        feedback.create_foreign_key(
            "feedback_session_id_fkey", "sessions", ["session_id"], ["id"], ondelete="CASCADE"
        )
        feedback.create_check_constraint("feedback_on_one", "(log_id IS NULL) <> (session_id IS NULL)")
    op.create_index(op.f("ix_feedback_session_id"), "feedback", ["session_id"], unique=False)
    op.execute(
        """UPDATE feedback SET from_page = true, "user" = NULL WHERE type = 'rating' AND "user" = 'page'"""
    )
    op.add_column("projects", sa.Column("feedback_types", sa.JSON(), nullable=True))
