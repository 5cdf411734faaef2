"""The fields of a datapoint as they are at one moment, whatever becomes of the objects afterwards.

They are JSON only later, in the thread that sends them: writing them in Python's own format takes a seventh
of the time.
"""

from __future__ import annotations

import marshal
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from hl_sessions.datapoints.fields import check
from hl_sessions.datapoints.values import snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hl_sessions.datapoints.fields import Checked

__all__ = ["as_sent", "fix", "fixed_fields"]

VERSION = 2  # later ones note which objects are the same: that takes time, and is of no use here


def fix(fields: dict[str, Any]) -> tuple[bytes, tuple[str, ...]]:
    """Return fields as they are now, for :func:`fixed_fields`, and what of them could not be kept."""
    try:
        return marshal.dumps(fields, VERSION), ()
    except ValueError:  # there are values of other than Python's plain types, or a cycle
        checked = check(fields)
        taken = snapshot(checked.fields)
        return marshal.dumps(taken.fields, VERSION), checked.problems + taken.problems


def fixed_fields(parts: Iterable[bytes]) -> dict[str, Any]:
    """Return the fields of some parts; what several have is that of the last one."""
    fields: dict[str, Any] = {}
    for part in parts:
        fields.update(marshal.loads(part))  # noqa: S302 - this process has written them
    return fields


def as_sent(fields: dict[str, Any]) -> Checked:
    """Return fixed fields with values of the types that the API takes, and what is wrong with others."""
    if isinstance(fields.get("created_at"), float):
        fields["created_at"] = datetime.fromtimestamp(fields["created_at"], timezone.utc).isoformat()
    return check(fields)
