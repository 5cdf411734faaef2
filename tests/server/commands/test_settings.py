"""A flag overrides a variable, which overrides the file."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from hl_sessions.server import settings
from hl_sessions.server.commands.serve import serve

KEY = "sk-of-the-operator"
DOCUMENTATION = (Path(__file__).parents[3] / "docs" / "operating.md").read_text()


def run(*arguments: str, **variables: str) -> tuple[int, str]:
    result = CliRunner().invoke(serve, arguments, env=variables)
    return result.exit_code, result.output


@pytest.fixture
def config(tmp_path: Path) -> Callable[[str], str]:
    """Writes a file for ``--config``, and returns its path."""

    def write(text: str) -> str:
        path = tmp_path / "config.toml"
        path.write_text(text)
        return str(path)

    return write


def test_a_flag_goes_before_a_variable_and_that_before_the_file(config: Callable[[str], str]) -> None:
    """The message names the host that cannot be used, and so shows its origin."""
    variables = {"HL_SESSIONS_CONFIG": config(f'host = "192.0.2.1"\nport = 1024\napi_key = "{KEY}"')}
    _, output = run(**variables)
    assert "port 1024 of 192.0.2.1" in output
    variables |= {"HL_SESSIONS_HOST": "198.51.100.1"}
    _, output = run(**variables)
    assert "port 1024 of 198.51.100.1" in output
    _, output = run("--host", "203.0.113.1", **variables)
    assert "port 1024 of 203.0.113.1" in output
    # An empty key is not a missing key: a lost key must not open the server.
    assert run(**variables, HL_SESSIONS_API_KEY="") == (2, run("--api-key", "")[1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('hsot = "::1"', "has a setting 'hsot', which is not one of: host, port, db, api_key, max_body"),
        ("port = 1.5", "the setting 'port' of {path} has to be a whole number"),
        ("workers = true", "the setting 'workers' of {path} has to be a whole number"),
        ("access_log = 1", "the setting 'access_log' of {path} has to be true or false"),
        ("api_key = 7", "the setting 'api_key' of {path} has to be a text in quotes"),
        ("workers = 0", "0 is not in the range"),
        ("keep = 90", "the setting 'keep' of {path} has to be a text in quotes"),
        ('keep = "90"', "give a number and one of h, d, w, as in 90d, not '90'"),
        (f'port = 8642\napi_key = "{KEY}\n', "{path} is not TOML: see line 2"),
        (f"api_key = {KEY}", "{path} is not TOML: see line 1"),
    ],
    ids=["name", "fraction", "boolean", "number", "key", "range", "age", "unit", "quotes", "text"],
)
def test_a_file_with_a_mistake_is_a_usage_error(
    config: Callable[[str], str], text: str, message: str
) -> None:
    """The message names the file and the place, but no text that may be a key."""
    path = config(text)
    code, output = run("--config", path)
    assert code == 2
    assert message.format(path=path) in " ".join(output.split())
    assert KEY not in output


@pytest.mark.parametrize("key", ["hidden-schlüssel", " hidden", "hidden\nline"])
def test_a_key_that_no_client_can_send_is_a_usage_error(key: str) -> None:
    """Otherwise every call would be answered 401. The key is not shown."""
    code, output = run(HL_SESSIONS_API_KEY=key)
    assert code == 2
    assert "printable ASCII characters only" in " ".join(output.split())
    assert "hidden" not in output


def test_a_driver_that_is_missing_is_told_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """PostgreSQL is an extra. The password of the URL is not shown."""
    monkeypatch.setattr(settings, "find_spec", lambda _name: None)
    code, output = run("--db", "postgresql://me:hidden@example.com/x")
    assert code == 2
    assert "pip install 'hl-sessions[postgresql]'" in " ".join(output.split())
    assert "hidden" not in output


def test_help_and_documentation_list_all_settings_and_no_secret(config: Callable[[str], str]) -> None:
    """Each flag is there with its variable. Values of the file are not shown."""
    path = config('db = "postgresql://me:hidden@example.com/x"\napi_key = "hidden"')
    code, output = run("--config", path, "--help")
    assert code == 0
    assert "hidden" not in output
    flags = {
        *("--config", "--host", "--port", "--db", "--api-key", "--max-body", "--root-path", "--workers"),
        *("--access-log", "--metrics-port", "--keep", "--prices"),
    }
    assert set(re.findall(r"^  (--[a-z-]+)", output, re.MULTILINE)) == flags | {"--help"}
    for flag in flags:
        variable = "HL_SESSIONS_" + flag.removeprefix("--").replace("-", "_").upper()
        assert variable in output
        assert f"`{flag}`" in DOCUMENTATION
        assert variable in DOCUMENTATION
