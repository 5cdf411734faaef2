"""The handling of outages of the API and the stores, and sessions that are created ahead of their reads."""
