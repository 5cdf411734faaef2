"""Where the session ID of a conversation is kept between its scopes."""

from hl_sessions.stores.base import ConversationStore
from hl_sessions.stores.memory import MemoryStore

__all__ = ["ConversationStore", "MemoryStore"]
