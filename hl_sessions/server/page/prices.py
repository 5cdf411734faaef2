"""The operator's prices of models, and the costs that are computed from them."""

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Final, TypeAlias

_COLUMNS: Final = ["model", "input", "output"]
_EXAMPLE: Final = "large-1,2.50,10"
_MILLION: Final = 1_000_000


class PricesError(ValueError):
    """A file of prices that cannot be used; the message names the place, the value and the way out."""


@dataclass(frozen=True)
class Price:
    """The price of a model.

    Args:
        input: Dollars for a million input tokens.
        output: Dollars for a million output tokens.
    """

    input: float
    output: float

    def cost_of(self, prompt_tokens: float | None, output_tokens: float | None) -> float:
        """Return the cost of these tokens, in dollars."""
        return ((prompt_tokens or 0) * self.input + (output_tokens or 0) * self.output) / _MILLION


Prices: TypeAlias = Mapping[str, Price]
"""The prices of models, by their names."""


@dataclass(frozen=True)
class Cost:
    """A cost in dollars; at least one of its two parts is known.

    Args:
        logged: The part that was logged.
        computed: The part that was not logged, computed from tokens and prices.
    """

    logged: float | None
    computed: float | None = None

    @classmethod
    def of(cls, logged: float | None, computed: float | None) -> "Cost | None":
        """Return the cost, unless neither part is known."""
        return None if logged is None and computed is None else cls(logged, computed)


def compute_cost(
    prices: Prices, model: Any, prompt_tokens: float | None, output_tokens: float | None
) -> float | None:
    """Return the cost of tokens in dollars; ``None`` without tokens, or without a price of the model."""
    price = prices.get(model) if isinstance(model, str) else None
    if price is None or (prompt_tokens is None and output_tokens is None):
        return None
    return price.cost_of(prompt_tokens, output_tokens)


def read_prices(path: Path) -> Prices:
    """Read a CSV file with the columns ``model``, ``input`` and ``output``, dollars per million tokens.

    Raises:
        PricesError: When the file cannot be read, or has an invalid line.
    """
    try:
        # Spreadsheets write a byte order mark.
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _parse(path, file)
    except OSError as error:
        raise PricesError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise PricesError(f"{path} is not text in UTF-8: save it as CSV in UTF-8") from None


def _parse(path: Path, file: Iterable[str]) -> Prices:
    lines = _lines_of(path, file)
    number, header = next(lines, (1, []))
    if header != _COLUMNS:
        raise PricesError(
            f"{path}, line {number}: the first line has to be {','.join(_COLUMNS)}, not {','.join(header)!r}"
        )
    prices: dict[str, Price] = {}
    line_of: dict[str, int] = {}
    for number, cells in lines:
        place = f"{path}, line {number}"
        if len(cells) != len(_COLUMNS) or not cells[0]:
            raise PricesError(
                f"{place}: give a model and two prices, such as {_EXAMPLE}, not {','.join(cells)!r}"
            )
        model = cells[0]
        if model in line_of:
            raise PricesError(
                f"{place}: the model {model!r} has a price in line {line_of[model]} already; "
                "delete one of the lines"
            )
        line_of[model] = number
        prices[model] = Price(*(_dollars(place, name, cell) for name, cell in _named_prices(cells)))
    return prices


def _lines_of(path: Path, file: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the lines that are not empty, with their numbers."""
    rows = csv.reader(file, strict=True)
    try:
        for row in rows:
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield rows.line_num, cells
    except csv.Error as error:
        raise PricesError(
            f"{path}, line {rows.line_num}: this is not CSV ({error}); "
            f"give a model and two prices, such as {_EXAMPLE}"
        ) from None


def _named_prices(cells: list[str]) -> Iterable[tuple[str, str]]:
    return zip(_COLUMNS[1:], cells[1:], strict=True)


def _dollars(place: str, name: str, cell: str) -> float:
    try:
        dollars = float(cell)
    except ValueError:
        dollars = -1
    if not (isfinite(dollars) and dollars >= 0):
        raise PricesError(
            f"{place}: {name} has to be dollars for a million tokens, a number such as 2.50, not {cell!r}"
        )
    return dollars
