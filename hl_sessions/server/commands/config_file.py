"""The option ``--config``: a TOML file with settings, in the place of flags and variables."""

import re
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import click


def _load(context: click.Context, _parameter: click.Parameter, path: Path | None) -> None:
    if path is None:
        return
    options = _options(context)
    defaults = {}
    for name, value in _read(path).items():
        option = options.get(name)
        if option is None:
            known = ", ".join(options)
            raise click.UsageError(f"{path} has a setting {name!r}, which is not one of: {known}")
        _check_type(path, name, value, option)
        defaults[option.name] = value
    context.default_map = defaults


config_option = click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="HL_SESSIONS_CONFIG",
    show_envvar=True,
    metavar="FILE",
    # Eager, because it sets the defaults of the other options.
    is_eager=True,
    expose_value=False,
    callback=_load,
    help="TOML file of the settings below, such as max_body = 1000000.",
)
"""The option ``--config``, for commands whose other options may all be set in the file."""


def _read(path: Path) -> Mapping[str, Any]:
    try:
        toml = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    except ModuleNotFoundError:
        raise click.UsageError("--config needs tomli on Python 3.10: pip install tomli") from None
    try:
        settings: Mapping[str, Any] = toml.loads(path.read_text("utf-8"))
    except ValueError as error:
        # Only the place of the parser's message is repeated: the line may hold a key.
        place = re.search(r"line \d+", str(error))
        raise click.UsageError(f"{path} is not TOML" + (f": see {place[0]}" if place else "")) from None
    except OSError as error:
        raise click.UsageError(f"cannot read {path}: {error.strerror}") from None
    return settings


def _options(context: click.Context) -> Mapping[str, click.Option]:
    """Return the options that the file may set, by the name of the flag with underscores."""
    return {
        option.opts[0].removeprefix("--").replace("-", "_"): option
        for option in context.command.params
        if isinstance(option, click.Option) and option.expose_value
    }


def _check_type(path: Path, name: str, value: object, option: click.Option) -> None:
    expected = bool if option.is_flag else int if isinstance(option.type, click.types.IntParamType) else str
    # Click would turn 1.5 and true into numbers.
    if type(value) is not expected:
        kind = {bool: "true or false", int: "a whole number", str: "a text in quotes"}[expected]
        raise click.UsageError(f"the setting {name!r} of {path} has to be {kind}")
