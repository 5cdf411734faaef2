"""The ``hl-sessions`` command. All of it except ``doctor`` and ``--version`` needs the extra ``server``."""

import os
import sys
import threading
from importlib.metadata import version
from typing import Final, NoReturn

_FOLDERS_OF_METRICS: Final = ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir")


def main() -> None:
    """Run the command line; without the extra, exit with a message that names it."""
    if sys.argv[1:2] == ["doctor"]:
        _run_doctor()
    if sys.argv[1:2] == ["--version"]:
        print(f"hl-sessions, version {version('hl-sessions')}")  # noqa: T201 - click may be missing
        return
    # Prometheus' client obeys these variables when it is loaded, but they are meant for another program.
    for variable in _FOLDERS_OF_METRICS:
        os.environ.pop(variable, None)
    try:
        import click

        from hl_sessions import doctor
        from hl_sessions.demo.command import demo
        from hl_sessions.server.commands.data import db, export_data, import_data, prune
        from hl_sessions.server.commands.keys import keys
        from hl_sessions.server.commands.serve import serve
        from hl_sessions.server.commands.tail import tail
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("hl_sessions"):
            raise
        sys.exit(
            f"hl-sessions: {error.name} is missing; all commands except 'doctor' need: "
            "pip install 'hl-sessions[server]'"
        )
    except KeyboardInterrupt:
        # Loading takes a moment, in which the user may have pressed Ctrl-C.
        sys.exit(130)
    listed_only = click.Command("doctor", short_help=doctor.SUMMARY)  # it was run above
    commands = [serve, demo, tail, keys, db, export_data, import_data, prune, listed_only]
    purpose = "Run and administer a server of the v4 API, and examine applications that use it."
    group = click.Group("hl-sessions", commands=commands, help=purpose)
    click.version_option(package_name="hl-sessions")(group)()


def _run_doctor() -> NoReturn:
    from hl_sessions.doctor.command import doctor

    try:
        code = doctor(sys.argv[2:])
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        # The reader of the output has gone. End like click ends the other commands: the interpreter flushes
        # the rest of the output at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    if not all(thread.daemon or thread is threading.main_thread() for thread in threading.enumerate()):
        os._exit(code)  # a thread of the application may run as long as a server does
    sys.exit(code)
