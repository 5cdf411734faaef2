"""The page of the server: what was logged, for people to look at."""
