"""Conversation keys, and one session for all scopes that have the same key."""
