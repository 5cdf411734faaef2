"""The model of a datapoint, and whether its cost was logged."""

from typing import Final

from sqlalchemy import and_

from hl_sessions.server.database.tables import logs

MODEL: Final = logs.c.config["model"].as_string()
"""The name of the model of a datapoint."""

HAS_NO_COST: Final = and_(logs.c.prompt_cost.is_(None), logs.c.output_cost.is_(None))
"""The condition on datapoints whose cost is computed."""
