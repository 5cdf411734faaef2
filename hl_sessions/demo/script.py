"""``hl-sessions demo --script``: a conversation like that of the page, without a browser."""

import textwrap
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import requests

from hl_sessions import flush
from hl_sessions.demo.session_list import ListedSession

MESSAGES: Final = (
    "What happens when the API is down?",
    "When is a session created?",
    "Does streaming keep the session?",
    "You are a stupid bot!",
)

WIDTH: Final = 100
"""The most columns that a line takes."""

STEPS: Final = ("moderation", "retrieval", "answer")


class UnexpectedSessionsError(Exception):
    """The sessions in the API are not those of the conversation."""


def converse(chat_url: str, echo: Callable[[str], object], is_ending: Callable[[], bool]) -> None:
    """Hold the conversation over HTTP, and print it with its sessions.

    Args:
        chat_url: The URL of the chat application, which runs in this process; without a slash at its end.
        echo: Prints a line.
        is_ending: Tells whether to stop; asked before each message.

    Raises:
        UnexpectedSessionsError: The messages did not make one session with three datapoints each.
        requests.RequestException: The chat application did not answer.
    """
    session_ids = []
    with requests.Session() as http:
        for message in MESSAGES:
            if is_ending():
                return
            with http.post(
                f"{chat_url}/chat", json={"message": message}, stream=True, timeout=10
            ) as response:
                response.raise_for_status()
                session_id = response.headers.get("X-Session-ID", "no session")
                reply = response.text
            session_ids.append(session_id)
            echo(f"you  {message}")
            echo(textwrap.fill(reply, WIDTH, initial_indent="bot  ", subsequent_indent="     "))
            echo(f"     -> {session_id}\n")
        flush(timeout=10)
        listed: list[ListedSession] = http.get(f"{chat_url}/sessions", timeout=10).json()["sessions"]
    # The file may hold older ones, too.
    sessions = [session for session in reversed(listed) if session["id"] in session_ids]
    for line in table(sessions):
        echo(line)
    if [session["id"] for session in sessions] != session_ids or any(
        tuple(datapoint["step"] for datapoint in session["datapoints"]) != STEPS for session in sessions
    ):
        raise UnexpectedSessionsError(
            f"the conversation was to make the sessions {session_ids}, each with {', '.join(STEPS)}"
        )
    count = sum(len(session["datapoints"]) for session in sessions)
    echo(f"\n{len(MESSAGES)} messages, {len(sessions)} sessions, {count} datapoints; no ID was passed along.")


def table(sessions: Iterable[ListedSession]) -> Iterator[str]:
    """Return the lines of a table of sessions and their datapoints."""
    rows = [("SESSION", "DATAPOINT", "RAN IN", "OUTPUT")]
    for session in sessions:
        session_id = session["id"]
        for datapoint in session["datapoints"]:
            rows.append((session_id, datapoint["step"], datapoint["ran_in"], datapoint["output"]))
            session_id = ""
    widths = [max(len(row[column]) for row in rows) + 2 for column in range(3)]
    for *cells, output in rows:
        line = "".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        yield line + _shortened(output, WIDTH - len(line))


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."
