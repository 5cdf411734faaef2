"""A datapoint, as a test reads it."""

from __future__ import annotations

from typing import Any

from hl_sessions.datapoints.fields import Fields

__all__ = ["LoggedDatapoint"]

_NOT_SHOWN = frozenset({"created_at", "duration", "parent_reference_id", "reference_id", "session_id"})


class LoggedDatapoint:
    """A datapoint that the API has received.

    Each field of ``POST /logs`` is an attribute, ``None`` if it was not sent.

    Attributes:
        fields: the fields that were sent, by name.
        parent: the datapoint that this one is nested under; ``None``: it is nested under none.
        children: the datapoints that are nested under this one, in order.
    """

    def __init__(self, fields: dict[str, Any], parent: LoggedDatapoint | None) -> None:
        self.fields = fields
        self.parent = parent
        self.children: list[LoggedDatapoint] = []

    def __getattr__(self, name: str) -> Any:
        fields = self.__dict__.get("fields", {})
        if name in fields or name in Fields.__optional_keys__:
            return fields.get(name)
        raise AttributeError(f"a datapoint has no field {name!r}")

    def __repr__(self) -> str:
        shown = [f"{name}={value!r}" for name, value in self.fields.items() if name not in _NOT_SHOWN]
        return f"{type(self).__name__}({', '.join(shown)})"
