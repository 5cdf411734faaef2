"""Points in time as numbers of seconds, on both databases."""

from datetime import datetime, timedelta, timezone
from typing import Any, Final

from sqlalchemy import Float
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)


class EpochSeconds(FunctionElement[float]):
    """The seconds from 1970 to a point in time, with fractions."""

    type = Float()
    inherit_cache = True


@compiles(EpochSeconds)
def _in_standard_sql(element: EpochSeconds, compiler: SQLCompiler, **options: Any) -> str:
    return f"EXTRACT(EPOCH FROM {compiler.process(element.clauses, **options)})"


@compiles(EpochSeconds, "sqlite")
def _in_sqlite(element: EpochSeconds, compiler: SQLCompiler, **options: Any) -> str:
    # SQLite's EXTRACT, strftime('%s'), ignores fractions. Its other functions round the last moment of the
    # calendar up beyond the calendar. As a text, a point in time is 2026-11-22 12:00:00.123456.
    moment = compiler.process(element.clauses, **options)
    return f"(strftime('%s', substr({moment}, 1, 19)) + CAST(substr({moment}, 20) AS REAL))"


def read_epoch(seconds: float) -> datetime | None:
    """Return the point in time for its seconds since 1970, or ``None`` if it is outside the calendar."""
    try:
        return _EPOCH + timedelta(seconds=float(seconds))
    except OverflowError:
        return None
