"""Ages and points in time as values of options: ``90d``, ``2026-11-22``."""

import re
from datetime import datetime, timedelta, timezone
from typing import Final

import click

_UNITS: Final = {"h": "hours", "d": "days", "w": "weeks"}


def parse_age(_context: click.Context, _parameter: click.Parameter, value: str | None) -> timedelta | None:
    """Parse the age that an option was given; used as a callback of click.

    Raises:
        click.BadParameter: When the value is not a number of hours, days or weeks.
    """
    if value is None:
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,4})([hdw])", value)
    if match is None and re.fullmatch(r"0+[hdw]", value):
        raise click.BadParameter(f"give more than 0, as in 90d, not {value!r}")
    if match is None:
        raise click.BadParameter(f"give a number and one of h, d, w, as in 90d, not {value!r}")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def parse_moment(context: click.Context, parameter: click.Parameter, value: str | None) -> datetime | None:
    """Parse the point in time that an option was given; used as a callback of click.

    Raises:
        click.BadParameter: When the value is neither an age nor a time.
    """
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        try:
            age = parse_age(context, parameter, value)
        except click.BadParameter:
            raise click.BadParameter(
                f"give an age such as 7d, or a time such as 2026-11-22 or 2026-11-22T10:30, not {value!r}"
            ) from None
        return None if age is None else datetime.now(timezone.utc) - age
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
