"""Stores, which keep the session ID of a conversation between its scopes."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hl_sessions.stores.base import Claim, Conversation, ConversationStore
from hl_sessions.stores.memory import MemoryStore

if TYPE_CHECKING:
    from hl_sessions.stores.redis import RedisStore
    from hl_sessions.stores.sqlite import SQLiteStore

__all__ = ["Claim", "Conversation", "ConversationStore", "MemoryStore", "RedisStore", "SQLiteStore"]

# Only an application that uses one of these stores needs its library.
_LOADED_AT_FIRST_USE = {"RedisStore": "hl_sessions.stores.redis", "SQLiteStore": "hl_sessions.stores.sqlite"}


def __getattr__(name: str) -> Any:
    if name in _LOADED_AT_FIRST_USE:
        return getattr(import_module(_LOADED_AT_FIRST_USE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
