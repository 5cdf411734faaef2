"""The other side of the wire: calls of the v4 sessions API."""
