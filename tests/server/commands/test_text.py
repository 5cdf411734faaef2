"""Options in another encoding, such as a name that was typed in a terminal set to Latin-1."""

import click
import pytest
from click.testing import CliRunner

from hl_sessions.server.commands.data import db, export_data
from hl_sessions.server.commands.keys import keys
from hl_sessions.server.commands.serve import serve
from hl_sessions.server.commands.tail import tail

NAME = b"caf\xe9".decode(errors="surrogateescape")  # as Python has it from the command line


@pytest.mark.parametrize(
    ("command", "arguments", "option"),
    [
        (tail, ["--project", NAME], "--project"),
        (export_data, ["--project", NAME], "--project"),
        (keys, ["revoke", NAME], "ID"),
        (serve, ["--host", NAME], "--host"),
        (db, ["upgrade", "--db", f"postgresql://me:secret@host/{NAME}"], "--db"),
    ],
)
def test_a_text_that_is_not_utf8_is_one_clear_line(
    command: click.Command, arguments: list[str], option: str
) -> None:
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 2
    assert f"Invalid value for '{option}'" in result.output
    assert result.output.endswith(": the value is not valid UTF-8\n")
    assert "secret" not in result.output
