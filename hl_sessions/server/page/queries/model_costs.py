"""Which model a datapoint has called, and whether it was logged what that cost."""

from typing import Final

from sqlalchemy import and_

from hl_sessions.server.database.tables import logs

MODEL: Final = logs.c.config["model"].as_string()
"""The name of the model that a datapoint has called."""

HAS_NO_COST: Final = and_(logs.c.prompt_cost.is_(None), logs.c.output_cost.is_(None))
"""Of these datapoints the cost is computed."""
