"""A job in a module that configures the manager."""

from hl_sessions import configure, log

configure(project="configured")


def log_datapoint() -> str:
    return log(source="job")
