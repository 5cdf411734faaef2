"""The texts that the bot knows, and the search for the one that fits a question."""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Text:
    """One of the bundled texts."""

    title: str
    body: str


TEXTS: Final = (
    Text(
        "Lazy creation",
        "A session is created when something is first logged in it, or its ID is read, not when the request"
        " arrives. A request that logs nothing makes no call at all. The page of this demo asks for its list"
        " every second, and none of those requests became a session.",
    ),
    Text(
        "Exactly one",
        "However many functions, threads and tasks read the ID at once, exactly one POST goes out. The"
        " first reader makes the call, the others wait for the same answer, and later readers get it from"
        " memory.",
    ),
    Text(
        "Streaming",
        "The session lasts until the last byte of a streamed reply. You are watching one: the first words"
        " came long before the end, and what is logged after the last word still has the same ID.",
    ),
    Text(
        "Threads",
        "Worker threads see the session of the request that they work for. The text you are reading was"
        " looked up in a thread of the pool, and that thread logged its datapoint without being told any"
        " ID.",
    ),
    Text(
        "Outages",
        "When the API is down, your application goes on. What it logs waits in memory, and is sent once the"
        " API is back, each datapoint once and under the session that it belongs to. One warning is logged"
        " per outage.",
    ),
    Text(
        "Conversations",
        "By default every request is a session of its own. Give a scope a key, such as the number of a"
        " chat, and all the requests of that conversation share one session, also across processes and"
        " restarts.",
    ),
    Text(
        "The server",
        "hl-sessions serve runs the v4 API on your own machine and keeps everything in one SQLite file."
        " The demo has started it beside this chat, with a random key and a temporary database.",
    ),
    Text(
        "Getting started",
        "Install hl-sessions, add the middleware to your Starlette, FastAPI or Flask app, and call log()"
        " wherever there is something to log. Nothing else changes: no function needs an extra argument."
        " Outside of web apps, the with_session decorator does the same.",
    ),
)

_split: Final = re.compile(r"[a-z0-9]+").findall

_STOP_WORDS: Final = frozenset(
    _split(
        "a about all an and any are as at be but by can did do does for from get had happens has have how i"
        " if in is it its me more my no not of on or one so tell that the their them then there they this"
        " to was what when where which who why will with would you your"
    )
)


def words_of(text: str) -> set[str]:
    """Return the words of a text in lower case, without the most common words."""
    return set(_split(text.lower())) - _STOP_WORDS


def find_text(question: str) -> Text | None:
    """Return the text that shares the most words with the question; rare words and titles count more."""
    asked = _stems_of(question)
    scores = [_score(asked, text) for text in TEXTS]
    best = max(scores)
    return TEXTS[scores.index(best)] if best else None


def _score(asked: set[str], text: Text) -> float:
    title = _stems_of(text.title)
    return sum((3 if stem in title else 1) / _TEXTS_WITH[stem] for stem in asked & _all_stems_of(text))


def _all_stems_of(text: Text) -> set[str]:
    return _stems_of(f"{text.title} {text.body}")


def _stems_of(text: str) -> set[str]:
    # Five letters are enough to find "streaming" by "stream" and "created" by "create".
    return {word[:5] for word in words_of(text)}


_TEXTS_WITH: Final = Counter(stem for text in TEXTS for stem in _all_stems_of(text))
