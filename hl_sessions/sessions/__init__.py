"""What is current: the handle of a session, and the context variable that holds it."""
