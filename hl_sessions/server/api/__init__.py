"""The calls of the v4 API: a module for each kind of record, and what they have in common."""
