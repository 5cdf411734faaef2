"""Builds the columns of new logs for all of them together, in a third of the time of single rows."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from hl_sessions.server.protocol.configs import described_config
from hl_sessions.server.records.log_additions import AddedLog
from hl_sessions.server.records.logs import PAYLOADS

_NOT_COPIED: Final = frozenset(
    {"project", "session_reference_id", "parent_reference_id", "config", "feedback"}
)


def columns_of(logs: Sequence[AddedLog], now: datetime) -> dict[str, list[Any]]:
    """Return the values of each column.

    Args:
        logs: The logs, in the order of their rows.
        now: The time at which they are added.
    """
    requests = [log.request for log in logs]
    saved = [request.get("save") is not False for request in requests]
    copied = set().union(*requests) - _NOT_COPIED
    columns: dict[str, list[Any]] = {name: [request.get(name) for request in requests] for name in copied}
    if not all(saved):
        for name in copied & PAYLOADS:
            values = zip(columns[name], saved, strict=True)
            columns[name] = [value if is_saved else None for value, is_saved in values]
    return columns | {
        "id": [log.id for log in logs],
        "organisation_id": [log.organisation_id for log in logs],
        "project_id": [log.project.id for log in logs],
        "session_id": [log.session and log.session.id for log in logs],
        "parent_id": [log.parent and log.parent.id for log in logs],
        "created_at": [request.get("created_at") or now for request in requests],
        "updated_at": [now] * len(logs),
        "save": saved,
        "config": [
            described_config(request.get("config"), request.get("config_id") or log.config_id)
            for log, request in zip(logs, requests, strict=True)
        ],
    }
