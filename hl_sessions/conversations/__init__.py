"""Conversation keys, and one session for all scopes with the same key."""
