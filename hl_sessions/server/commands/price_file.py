"""The option ``--prices``: a file of prices."""

from pathlib import Path

import click

from hl_sessions.server.page.prices import Prices, PricesError, read_prices


def parse_prices(_context: click.Context, _parameter: click.Parameter, path: Path | None) -> Prices:
    """Return the prices of a file, or no prices without a file; used as a callback of click.

    Raises:
        click.BadParameter: When the file cannot be used.
    """
    if path is None:
        return {}
    try:
        return read_prices(path)
    except PricesError as error:
        raise click.BadParameter(str(error)) from None
