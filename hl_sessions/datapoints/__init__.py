"""The datapoints that are logged in sessions, and their way to the API."""
