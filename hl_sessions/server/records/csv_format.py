"""The rows of an export as CSV (RFC 4180), one for each datapoint, for spreadsheets.

The file begins with a byte order mark, without which Excel takes UTF-8 for another encoding.

An apostrophe is written before every text that a spreadsheet would take for a formula. So an output that is
logged cannot run anything where the file is opened. Values that are JSON stay JSON.
"""

import csv
from codecs import BOM_UTF8
from collections.abc import Mapping, Sequence
from datetime import datetime
from io import StringIO
from typing import Any, Final

from pydantic_core import to_json

from hl_sessions.server.database.tables import ExactJSON, logs
from hl_sessions.server.records.export_format import exported_columns

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Characters that begin a formula in some spreadsheet, or hide its beginning; East Asian ones included."""

_COLUMNS: Final = exported_columns(logs)
OF_SESSION: Final = ("name", "user", "reference_id", "ended_at")
"""The columns of the session, which are repeated in the row of each of its datapoints."""

_JSON: Final = {name for name in _COLUMNS if isinstance(logs.c[name].type, ExactJSON)}


def csv_header() -> bytes:
    """Return the byte order mark, and the row with the names of the columns."""
    return BOM_UTF8 + _row([*_COLUMNS, "project", "feedback", *(f"session_{name}" for name in OF_SESSION)])


def csv_line(
    log: Mapping[str, Any],
    project: str,
    feedback: Sequence[Mapping[str, Any]],
    session: Mapping[str, Any],
) -> bytes:
    """Return the row of a datapoint.

    Args:
        log: The columns of the datapoint.
        project: The name of its project.
        feedback: Its feedback: objects with ``type``, ``value`` and ``user``.
        session: The columns of its session; empty if it has none.
    """
    cells = [_cell(log[name], is_json=name in _JSON) for name in _COLUMNS]
    of_session = (_cell(session.get(name)) for name in OF_SESSION)
    return _row([*cells, _cell(project), _cell(feedback or None, is_json=True), *of_session])


def _cell(value: Any, *, is_json: bool = False) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat()
    if is_json or not isinstance(value, str):
        return to_json(value).decode()
    return f"'{value}" if value.startswith(_FORMULA) else value


def _row(cells: Sequence[str]) -> bytes:
    row = StringIO()
    csv.writer(row).writerow(cells)
    return row.getvalue().encode()
