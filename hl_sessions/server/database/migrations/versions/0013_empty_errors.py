"""Take empty errors of datapoints for none, and no longer count them."""

from typing import Final

from alembic import op

revision = "0013"
down_revision = "0012"

# An index has the few datapoints with an error.
_COUNT_WITHOUT: Final = """
UPDATE session_totals SET errors = session_totals.errors - empty.errors FROM (
  SELECT sessions.sequence AS session_sequence, count(*) AS errors
  FROM logs JOIN sessions ON sessions.id = logs.session_id
  WHERE logs.error = ''
  GROUP BY 1
) AS empty WHERE empty.session_sequence = session_totals.session_sequence
"""
_REMOVE: Final = """
UPDATE logs SET error = NULL WHERE error = ''
"""


def upgrade() -> None:
    """Correct the totals of sessions, and then the datapoints."""
    op.execute(_COUNT_WITHOUT)
    op.execute(_REMOVE)
