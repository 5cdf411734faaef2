"""Runs commands as a terminal does."""

import json
import re
from typing import Any

from click.testing import CliRunner, Result

LINE = re.compile(r".+\n")  # other characters end lines to Python, but not to JSON Lines


def run(command: Any, *arguments: str, text: str | None = None) -> Result:
    """Run a command, and return its result."""
    return CliRunner().invoke(command, arguments, input=text)


def done(command: Any, *arguments: str, text: str | None = None) -> Result:
    """Run a command that succeeds."""
    result = run(command, *arguments, text=text)
    assert result.exit_code == 0, (result.output, result.exception)
    return result


def exported(database: str, *arguments: str) -> list[dict[str, Any]]:
    """The records in the output of ``hl-sessions export``."""
    from hl_sessions.server.commands.data import export_data

    text = done(export_data, "--db", database, *arguments).stdout
    return [json.loads(line) for line in LINE.findall(text)]
