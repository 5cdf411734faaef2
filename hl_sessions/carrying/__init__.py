"""A session on its way to another process."""

from hl_sessions.carrying.secret import SharedSecret

__all__ = ["SharedSecret"]
