"""The command ``hl-sessions tail``: prints datapoints as they arrive."""

import json
import re
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from http import HTTPStatus
from time import sleep
from typing import Any, Final

import click
import requests

from hl_sessions.errors import ConfigurationError
from hl_sessions.process.checks import checked_api_key, checked_base_url
from hl_sessions.server.commands.text import require_utf8
from hl_sessions.server.protocol.answers import RESULTS
from hl_sessions.server.protocol.identifiers import SESSION, identifier_pattern

_PAUSE: Final = 1.0
"""Seconds from an answer to the next request, and from a failure to the next attempt."""

_TIMEOUT: Final = 30.0
_AT_ONCE: Final = 100
_MOST_OPEN: Final = 100
"""The number of open datapoints that the server is asked about."""

_PLACES: Final = 100
"""The number of earlier places that are remembered, in case the datapoints of later ones are deleted."""

_LONGEST_TEXT: Final = 200  # characters


def _checked_url(_context: click.Context, _parameter: click.Parameter, url: str) -> str:
    try:
        return checked_base_url("--url", url)
    except ConfigurationError as error:
        raise click.BadParameter(str(error)) from None


def _checked_key(_context: click.Context, _parameter: click.Parameter, key: str | None) -> str | None:
    try:
        return key and checked_api_key("--api-key", key)
    except ConfigurationError as error:
        raise click.BadParameter(str(error)) from None


def _checked_session(_context: click.Context, _parameter: click.Parameter, session: str | None) -> str | None:
    if session is not None and not re.fullmatch(identifier_pattern(SESSION), session):
        raise click.BadParameter(
            f"{session!r} is not the ID of a session, such as sesh_-OkI6lKaVb3q0WmUkX4n8RzT"
        )
    return session


@click.command()
@click.option(
    "--url",
    default="http://127.0.0.1:8642/v4",
    envvar="HL_SESSIONS_BASE_URL",
    show_default=True,
    show_envvar=True,
    callback=_checked_url,
    help="The URL of the API.",
)
@click.option(
    "--api-key",
    metavar="KEY",
    envvar="HL_SESSIONS_API_KEY",
    show_envvar=True,
    callback=_checked_key,
    help="The key of the API.",
)
@click.option("--project", callback=require_utf8, metavar="NAME", help="Only the datapoints of this project.")
@click.option(
    "--session", metavar="ID", callback=_checked_session, help="Only the datapoints of this session."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON Lines: all of each datapoint.")
@click.pass_context
def tail(
    context: click.Context,
    url: str,
    api_key: str | None,
    project: str | None,
    session: str | None,
    *,
    as_json: bool,
) -> None:
    """Print datapoints as a server receives them, until Ctrl-C.

    A `datapoint` that is still open is printed without output and duration, and again when it has ended, if
    it is one of the newest 100 open ones.

    If the server goes away, the command waits for it. A server that cannot be reached at the start is an
    error.
    """
    wanted = {"project": project, "session_id": session}
    with requests.Session() as http:
        if api_key:
            http.headers["X-API-KEY"] = api_key
        try:
            for datapoint in _Tail(http, url, {name: given for name, given in wanted.items() if given}):
                click.echo(json.dumps(datapoint, ensure_ascii=False) if as_json else _line(datapoint))
        except KeyboardInterrupt:
            context.exit(130)


class _Tail:
    """Yields the datapoints that a server receives, in the order of their arrival, and again at their end.

    Args:
        http: Makes the calls.
        url: The URL of the API.
        wanted: The parameters that select datapoints.
    """

    def __init__(self, http: requests.Session, url: str, wanted: Mapping[str, str]) -> None:
        self._http = http
        self._url = url
        self._wanted = wanted

    def __iter__(self) -> Iterator[dict[str, Any]]:
        places = deque([self._begin()], _PLACES)
        click.echo(f"Watching {self._url}", err=True)
        # Whether the datapoints that have been yielded had ended.
        given: dict[str, bool] = {}
        while True:
            are_open = [name for name, has_ended in given.items() if not has_ended][-_MOST_OPEN:]
            answer = self._ask_until_answered({"after": places[-1], "size": _AT_ONCE, "open": are_open})
            if answer is None:
                # The datapoint at this place was deleted. Ask again from an earlier place; what has been
                # yielded is left out.
                places.pop()
                if not places:
                    raise click.ClickException("all datapoints that it could continue from were deleted")
                continue
            for datapoint in answer["records"]:
                has_ended = any(name in datapoint for name in RESULTS)
                if datapoint["id"] not in given or (has_ended and not given[datapoint["id"]]):
                    given[datapoint["id"]] = has_ended
                    yield datapoint
            for old in list(given)[: -_PLACES * _AT_ONCE]:
                del given[old]
            if answer["next"] != places[-1]:
                places.append(answer["next"])
            if len(answer["records"]) < _AT_ONCE:
                sleep(_PAUSE)

    def _begin(self) -> str:
        try:
            answer = self._ask({})
        except requests.exceptions.InvalidJSONError:
            raise click.ClickException(f"{self._url} is no API: does the URL end in /v4?") from None
        except requests.RequestException:
            raise click.ClickException(f"there is no answer from {self._url}") from None
        if answer is None:
            raise click.ClickException(
                f"{self._url} answers 404: does the URL end in /v4, and is the server new enough?"
            )
        place: str = answer["next"]
        return place

    def _ask_until_answered(self, parameters: Mapping[str, Any]) -> dict[str, Any] | None:
        is_away = False
        while True:
            with suppress(requests.RequestException):
                answer = self._ask(parameters)
                if is_away:
                    click.echo(f"Watching {self._url} again", err=True)
                return answer
            if not is_away:
                click.echo(f"Waiting for {self._url}", err=True)
            is_away = True
            sleep(_PAUSE)

    def _ask(self, parameters: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the answer, or ``None`` for status 404.

        Raises:
            requests.RequestException: When there is no answer or one of something else, or the server is
                temporarily unavailable.
            click.ClickException: When the server refuses the call.
        """
        answer = self._http.get(
            f"{self._url}/arrivals", params={**self._wanted, **parameters}, timeout=_TIMEOUT
        )
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return None
        if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            answer.raise_for_status()
        if answer.status_code == HTTPStatus.UNAUTHORIZED:
            raise click.ClickException(
                "the API key is missing or wrong: check --api-key or HL_SESSIONS_API_KEY"
            )
        found = answer.json()
        if not isinstance(found, dict) or (answer.ok and not isinstance(found.get("records"), list)):
            raise requests.exceptions.InvalidJSONError
        if not answer.ok:
            reason = found.get("detail")
            told = f": {reason}" if isinstance(reason, str) else ""
            raise click.ClickException(f"{self._url} answers {answer.status_code}{told}")
        return found


def _line(datapoint: Mapping[str, Any]) -> str:
    """Format a datapoint as a line of printable text, with a dash for each missing field."""
    parts = [datapoint["created_at"][:19].replace("T", " "), datapoint["project"]]
    parts += [datapoint.get(name) or "-" for name in ("session_id", "source")]
    parts.append(f"{datapoint['duration']:.2f} s" if "duration" in datapoint else "-")
    if "error" in datapoint:
        parts.append(f"error: {datapoint['error']}")
    else:
        parts.append(datapoint.get("output") or "")
    # Some characters that are not shown are commands to a terminal.
    return "  ".join(map(_printable, parts)).rstrip()


def _printable(text: str) -> str:
    shown = "".join(character if character.isprintable() else " " for character in text[: _LONGEST_TEXT + 1])
    return shown if len(shown) <= _LONGEST_TEXT else f"{shown[:_LONGEST_TEXT]}..."
