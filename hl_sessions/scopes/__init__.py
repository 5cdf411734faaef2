"""Scopes, in which a session is current."""
