"""The command ``hl-sessions doctor``, which needs no extra."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from hl_sessions.defaults import default_manager
from hl_sessions.doctor import SUMMARY
from hl_sessions.doctor.api import TIMEOUT, api_key_of, base_url_of, examine_api, examine_project
from hl_sessions.doctor.application import Application, ApplicationError, load
from hl_sessions.doctor.findings import Finding, Mark
from hl_sessions.doctor.libraries import examine_integrations, examine_libraries
from hl_sessions.doctor.report import Report
from hl_sessions.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hl_sessions.manager import SessionManager

__all__ = ["doctor"]

_DESCRIPTION: Final = f"""{SUMMARY}

Asks the API which calls it allows with the key, without making a session, and
lists the integrations for the installed libraries. With the name of an
application, it imports the application, checks that the middleware of
hl_sessions stands outermost, and names the loaded libraries that lose the
session. Without one, it names the installed ones.

Keys and passwords are never shown."""

_EPILOG: Final = """\
  ok       correct
  -        for information
  warning  maybe wrong; the line below says what to do
  wrong    does not work; the exit code is 1

settings come from the environment, like those of an application:
  HL_SESSIONS_BASE_URL  the URL of the API, http://127.0.0.1:8642/v4 by default
  HL_SESSIONS_API_KEY   its key, or HUMANLOOP_API_KEY"""


def doctor(arguments: Sequence[str]) -> int:
    """Run the command, and return its exit code."""
    parser = argparse.ArgumentParser(
        "hl-sessions doctor",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "name",
        nargs="?",
        metavar="module:app",
        help="an application, named as for a server, or module:create_app() for a function that returns one;"
        " the current folder is importable",
    )
    name: str | None = parser.parse_args(arguments).name
    report = Report(is_coloured=sys.stdout.isatty() and "NO_COLOR" not in os.environ)
    python = f"{platform.python_implementation()} {platform.python_version()}"
    report.write(f"hl-sessions {version('hl-sessions')}, {python}")
    application = None if name is None else _examine_application(report, name)
    for manager, has_conversations in _managers(report, application).items():
        report.hide(api_key_of(manager))
        with _telling(f"waiting for {base_url_of(manager)}, {TIMEOUT:.0f} seconds at most ..."):
            findings = list(examine_api(manager, has_conversations=has_conversations))
        if application is not None:
            findings += examine_project(manager)
        report.add("API", findings)
    if name is None or application is not None:
        report.add("Integrations", examine_integrations(name))
        report.add("Libraries", examine_libraries(name))
    return report.end()


def _examine_application(report: Report, name: str) -> Application | None:
    try:
        with _telling(f"importing {name} ..."):
            application = load(name)
    except ApplicationError as error:
        report.add("Application", [Finding(Mark.WRONG, str(error))])
        return None
    report.add(f"Application {name}", application.examine())
    return application


def _managers(report: Report, application: Application | None) -> dict[SessionManager, bool]:
    """Return the managers of the application, or the default one, and whether they have conversations."""
    try:
        managers = {} if application is None else application.managers()
        return managers or {default_manager(): False}
    except ConfigurationError as error:
        report.add("API", [Finding(Mark.WRONG, str(error))])
        return {}


@contextmanager
def _telling(what: str) -> Iterator[None]:
    """Show a message on a terminal as long as the block runs."""
    # Without a thread, which would break an application that lets gevent patch everything.
    if not sys.stderr.isatty():
        yield
        return
    sys.stderr.write(what)
    sys.stderr.flush()
    try:
        yield
    finally:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()
