"""The file of ``serve --prices``."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from hl_sessions.server.commands.serve import serve
from hl_sessions.server.page.prices import Price, read_prices

HEADER = b"model,input,output\n"


def test_a_file_of_prices_is_read_as_spreadsheets_write_it(tmp_path: Path) -> None:
    """With a byte order mark, quotes, spaces, empty lines and Windows' line ends."""
    path = tmp_path / "prices.csv"
    lines = [b"\xef\xbb\xbfmodel,input,output", b'"large, 1",2.50,10', b",,", b"", b"small-2 , 0 , 1e-1"]
    path.write_bytes(b"\r\n".join(lines))
    assert read_prices(path) == {"large, 1": Price(2.5, 10), "small-2": Price(0, 0.1)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "{path}, line 1: the first line has to be model,input,output, not ''"),
        (b"large-1,2.50,10\n", "line 1: the first line has to be model,input,output, not 'large-1,2.50,10'"),
        (HEADER + b"large-1,2.50\n", "line 2: give a model and two prices, such as large-1,2.50,10, not"),
        (HEADER + b"large-1,2,50,10\n", "line 2: give a model and two prices"),
        (HEADER + b",2.50,10\n", "line 2: give a model and two prices"),
        (HEADER + b"\nlarge-1,$2.50,10\n", "line 3: input has to be dollars for a million tokens, a number"),
        (HEADER + b"large-1,2.50,-10\n", "a number such as 2.50, not '-10'"),
        (HEADER + b"large-1,2.50,inf\n", "line 2: output has to be dollars for a million tokens"),
        (HEADER + b"a,1,1\na,2,2\n", "line 3: the model 'a' has a price in line 2 already; delete one"),
        (HEADER + b'"a,1,1\n', "line 2: this is not CSV"),
        (HEADER + b"\xe4,1,1\n", "{path} is not text in UTF-8: save it as CSV in UTF-8"),
    ],
    ids=[
        *("empty", "header", "one price", "comma", "no model", "dollar sign", "negative", "infinite"),
        *("twice", "quote", "encoding"),
    ],
)
def test_a_file_with_a_mistake_stops_the_start(tmp_path: Path, content: bytes, message: str) -> None:
    """The message has the file, the line, the value and the way out."""
    path = tmp_path / "prices.csv"
    path.write_bytes(content)
    result = CliRunner().invoke(serve, ["--prices", str(path)])
    assert result.exit_code == 2
    output = " ".join(result.output.split())
    assert "Invalid value for '--prices'" in output
    assert message.format(path=path) in output


def test_a_file_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    """Whether a flag, a variable or the settings file names it."""
    path = tmp_path / "prices.csv"
    config = tmp_path / "config.toml"
    config.write_text(f'prices = "{path}"')
    for arguments in (["--prices", str(path)], ["--config", str(config)]):
        result = CliRunner().invoke(serve, arguments)
        assert result.exit_code == 2
        assert f"File '{path}' does not exist" in " ".join(result.output.split())
