"""Prices as the option ``--prices`` has them: a file."""

from pathlib import Path

import click

from hl_sessions.server.page.prices import Prices, PricesError, read_prices


def parse_prices(_context: click.Context, _parameter: click.Parameter, path: Path | None) -> Prices:
    """Return the prices of a file, or none without one; meant as the callback of the option.

    Raises:
        click.BadParameter: When the file cannot be used.
    """
    if path is None:
        return {}
    try:
        return read_prices(path)
    except PricesError as error:
        raise click.BadParameter(str(error)) from None
