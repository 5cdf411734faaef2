"""Runs an application as one or several processes, on a socket, until it is told to end."""
