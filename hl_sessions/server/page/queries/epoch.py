"""Points in time as numbers, in the databases' own ways."""

from typing import Any

from sqlalchemy import Float
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class EpochSeconds(FunctionElement[float]):
    """The seconds from 1970 to a point in time, with its fractions."""

    type = Float()
    inherit_cache = True


@compiles(EpochSeconds)
def _in_standard_sql(element: EpochSeconds, compiler: SQLCompiler, **options: Any) -> str:
    return f"EXTRACT(EPOCH FROM {compiler.process(element.clauses, **options)})"


@compiles(EpochSeconds, "sqlite")
def _in_sqlite(element: EpochSeconds, compiler: SQLCompiler, **options: Any) -> str:
    # Its EXTRACT, strftime('%s'), knows no fractions.
    return f"(julianday({compiler.process(element.clauses, **options)}) - 2440587.5) * 86400.0"
