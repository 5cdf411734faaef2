"""What is logged in a session."""
