"""Store the totals of each session, and the labels of its datapoints."""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

_EXPRESSIONS: Final = {
    "sqlite": {
        "epoch": "(strftime('%s', substr({0}, 1, 19)) + CAST(substr({0}, 20) AS REAL))",
        "model": "CASE json_type(logs.config, '$.model') WHEN 'text' "
        "THEN json_extract(logs.config, '$.model') END",
        "whole": "round({0})",
    },
    "postgresql": {
        "epoch": "CAST(EXTRACT(EPOCH FROM {0}) AS FLOAT)",
        "model": "CASE json_typeof(logs.config -> 'model') WHEN 'string' THEN logs.config ->> 'model' END",
        "whole": "floor({0} + 0.5)",
    },
}
"""Expressions that differ between the databases."""

# Each datapoint is read once: there are many, and they are long.
_SUM_UP = """
CREATE TEMPORARY TABLE summed_up AS
SELECT
  sessions.sequence AS session_sequence, logs.organisation_id,
  substr(logs.source, 1, 200) AS source, substr({model}, 1, 200) AS model,
  substr(logs.environment, 1, 200) AS environment,
  count(*) AS datapoints, count(logs.error) AS errors,
  sum(CAST(coalesce(logs.prompt_tokens, 0) AS FLOAT)) AS prompt_tokens,
  sum(CAST(coalesce(logs.output_tokens, 0) AS FLOAT)) AS output_tokens,
  sum({prompt_nanodollars} + {output_nanodollars}) AS nanodollars,
  min({begin}) AS first_at, max({begin} + coalesce(logs.duration, 0)) AS last_at
FROM sessions JOIN logs ON logs.session_id = sessions.id
GROUP BY 1, 2, 3, 4, 5
"""

_MAKE_LABELS = """
INSERT INTO labels (organisation_id, kind, value, bit)
SELECT
  organisation_id, '{kind}', value,
  CAST(1 AS BIGINT) << CAST((row_number() OVER in_order - 1) % 63 AS INTEGER)
FROM (
  SELECT organisation_id, {kind} AS value, min(session_sequence) AS first
  FROM summed_up WHERE {kind} <> '' GROUP BY 1, 2
) AS valued
WINDOW in_order AS (PARTITION BY organisation_id ORDER BY first, value)
"""

_COUNT_LABELS = """
INSERT INTO session_labels (session_sequence, label_sequence, datapoints)
SELECT session_sequence, labels.sequence, sum(datapoints)
FROM summed_up JOIN labels
  ON labels.organisation_id = summed_up.organisation_id AND labels.kind = '{kind}' AND labels.value = {kind}
GROUP BY 1, 2
"""

_MAKE_TOTALS = """
INSERT INTO session_totals (
  session_sequence, organisation_id, began_at, datapoints, errors, tokens, prompt_tokens, output_tokens,
  nanodollars, sources, models, environments, first_at, last_at
)
SELECT
  sessions.sequence, sessions.organisation_id, {began},
  coalesce(summed.datapoints, 0), coalesce(summed.errors, 0),
  coalesce(summed.prompt_tokens + summed.output_tokens, 0),
  coalesce(summed.prompt_tokens, 0), coalesce(summed.output_tokens, 0), coalesce(summed.nanodollars, 0),
  coalesce(labelled.sources, 0), coalesce(labelled.models, 0), coalesce(labelled.environments, 0),
  summed.first_at, summed.last_at
FROM sessions
LEFT JOIN (
  SELECT
    session_sequence, sum(datapoints) AS datapoints, sum(errors) AS errors,
    sum(prompt_tokens) AS prompt_tokens, sum(output_tokens) AS output_tokens,
    sum(nanodollars) AS nanodollars, min(first_at) AS first_at, max(last_at) AS last_at
  FROM summed_up GROUP BY 1
) AS summed ON summed.session_sequence = sessions.sequence
LEFT JOIN (
  SELECT
    session_sequence,
    sum(DISTINCT CASE kind WHEN 'source' THEN bit ELSE 0 END) AS sources,
    sum(DISTINCT CASE kind WHEN 'model' THEN bit ELSE 0 END) AS models,
    sum(DISTINCT CASE kind WHEN 'environment' THEN bit ELSE 0 END) AS environments
  FROM session_labels JOIN labels ON labels.sequence = session_labels.label_sequence
  GROUP BY 1
) AS labelled ON labelled.session_sequence = sessions.sequence
"""


def upgrade() -> None:
    """Make the tables, and fill them from the stored datapoints."""
    op.create_table(
        "session_totals",
        sa.Column("session_sequence", _SEQUENCE, autoincrement=False, nullable=False),
        sa.Column("organisation_id", _SEQUENCE, nullable=False),
        sa.Column("began_at", sa.Float(), nullable=False),
        sa.Column("datapoints", sa.BigInteger(), nullable=False),
        sa.Column("errors", sa.BigInteger(), nullable=False),
        sa.Column("tokens", sa.Float(), nullable=False),
        sa.Column("prompt_tokens", sa.Float(), nullable=False),
        sa.Column("output_tokens", sa.Float(), nullable=False),
        sa.Column("nanodollars", sa.Float(), nullable=False),
        sa.Column("sources", sa.BigInteger(), nullable=False),
        sa.Column("models", sa.BigInteger(), nullable=False),
        sa.Column("environments", sa.BigInteger(), nullable=False),
        sa.Column("first_at", sa.Float(), nullable=True),
        sa.Column("last_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["organisation_id"], ["organisations.sequence"]),
        sa.ForeignKeyConstraint(["session_sequence"], ["sessions.sequence"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("session_sequence"),
    )
    op.create_table(
        "labels",
        sa.Column("sequence", _SEQUENCE, nullable=False),
        sa.Column("organisation_id", _SEQUENCE, nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.Column("bit", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["organisation_id"], ["organisations.sequence"]),
        sa.PrimaryKeyConstraint("sequence"),
        sa.UniqueConstraint("organisation_id", "kind", "value", name="label_values"),
    )
    op.create_table(
        "session_labels",
        sa.Column("session_sequence", _SEQUENCE, nullable=False),
        sa.Column("label_sequence", _SEQUENCE, nullable=False),
        sa.Column("datapoints", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["label_sequence"], ["labels.sequence"]),
        sa.ForeignKeyConstraint(["session_sequence"], ["sessions.sequence"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("session_sequence", "label_sequence"),
        sqlite_with_rowid=False,
    )
    words = _EXPRESSIONS[op.get_context().dialect.name]
    nanodollars = {
        f"{name}_nanodollars": words["whole"].format(f"(coalesce(logs.{name}_cost, 0) * 1e9)")
        for name in ("prompt", "output")
    }
    begin = words["epoch"].format("logs.created_at")
    op.execute(_SUM_UP.format(model=words["model"], begin=begin, **nanodollars))
    for kind in ("source", "model", "environment"):
        op.execute(_MAKE_LABELS.format(kind=kind))
        op.execute(_COUNT_LABELS.format(kind=kind))
    op.execute(_MAKE_TOTALS.format(began=words["epoch"].format("sessions.created_at")))
    op.execute("DROP TABLE summed_up")
