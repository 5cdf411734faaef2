"""Store the answers of calls that must not be repeated."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Change the tables."""
    op.create_table(
        "idempotency_keys",
        sa.Column("sequence", _SEQUENCE, nullable=False),
        sa.Column("organisation_id", _SEQUENCE, nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("request_hash", sa.String(), nullable=False),
        sa.Column("answer", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["organisation_id"], ["organisations.sequence"]),
        sa.PrimaryKeyConstraint("sequence"),
        sa.UniqueConstraint("key", "organisation_id", name="idempotency_keys_of_organisation"),
    )
