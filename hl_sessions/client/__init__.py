"""The calls of the v4 sessions API, and their connections."""
