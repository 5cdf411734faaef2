"""The page of the server, which shows the logged sessions."""
