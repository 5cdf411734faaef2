"""Make the tables of the text index, which servers fill."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Change the tables."""
    op.create_table(
        "search_segments",
        sa.Column("first", _SEQUENCE, autoincrement=False, nullable=False),
        sa.Column("last", _SEQUENCE, nullable=False),
        sa.Column("starts", sa.JSON(), nullable=False),
        sa.Column("newest_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("newest_session", _SEQUENCE, nullable=False),
        sa.Column("newest_session_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("first"),
    )
    op.create_table(
        "search_bits",
        sa.Column("number", _SEQUENCE, autoincrement=False, nullable=False),
        sa.Column("bits", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_table(
        "search_changes",
        sa.Column("sequence", _SEQUENCE, nullable=False),
        sa.Column("log_sequence", _SEQUENCE, nullable=False),
        sa.PrimaryKeyConstraint("sequence"),
        sqlite_autoincrement=True,
    )
    if op.get_context().dialect.name == "sqlite":
        # SQLite reuses the numbers of the newest rows after they were deleted.
        op.execute(
            "CREATE TRIGGER search_segments_of_deleted AFTER DELETE ON logs "
            "WHEN coalesce((SELECT max(sequence) FROM logs), 0) "
            "< (SELECT last FROM search_segments ORDER BY first DESC LIMIT 1) "
            "BEGIN DELETE FROM search_segments "
            "WHERE last > (SELECT coalesce(max(sequence), 0) FROM logs); END"
        )
