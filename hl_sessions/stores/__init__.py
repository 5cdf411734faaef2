"""Where the session ID of a conversation is kept between its scopes."""

from typing import TYPE_CHECKING, Any

from hl_sessions.stores.base import Conversation, ConversationStore
from hl_sessions.stores.memory import MemoryStore
from hl_sessions.stores.sqlite import SQLiteStore

if TYPE_CHECKING:
    from hl_sessions.stores.redis import RedisStore

__all__ = ["Conversation", "ConversationStore", "MemoryStore", "RedisStore", "SQLiteStore"]


def __getattr__(name: str) -> Any:
    if name == "RedisStore":  # only those who use it need redis-py
        from hl_sessions.stores.redis import RedisStore

        return RedisStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
