"""Ages as options have them: ``90d``."""

import re
from datetime import timedelta
from typing import Final

import click

_UNITS: Final = {"h": "hours", "d": "days", "w": "weeks"}


def parse_age(_context: click.Context, _parameter: click.Parameter, value: str | None) -> timedelta | None:
    """Return the time that the value of an option stands for; meant as its callback.

    Raises:
        click.BadParameter: When it is no number of hours, days or weeks.
    """
    if value is None:
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,4})([hdw])", value)
    if match is None:
        raise click.BadParameter(f"give a number and one of h, d, w, as in 90d, not {value!r}")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})
