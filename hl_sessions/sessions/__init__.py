"""The current session: its handle, and the context variable that holds it."""
