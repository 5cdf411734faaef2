"""Carry a session to another process."""

from hl_sessions.carrying.message import acarry, carried, carry
from hl_sessions.carrying.secret import SharedSecret

__all__ = ["SharedSecret", "acarry", "carried", "carry"]
