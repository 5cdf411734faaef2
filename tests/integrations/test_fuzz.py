"""A million inputs from outside, each a little beside a valid one: none is accepted, none raises."""

import math
from collections.abc import Callable, Iterator
from itertools import islice
from random import Random
from typing import Any

import pytest

pytest.importorskip("hypothesis")

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from hl_sessions import SessionManager
from hl_sessions.carrying import SharedSecret
from hl_sessions.carrying.headers import named_session_id
from hl_sessions.integrations.asgi import SignedCookie, baggage, header, json_field, query
from hl_sessions.integrations.gateway import Request
from hl_sessions.integrations.incoming import Incoming

pytestmark = pytest.mark.slow

INPUTS = 1_000_000
INPUTS_OF_AN_EXAMPLE = 1_000
SECRET = "a secret of many characters"
SESSION_ID = "sesh_0123456789abcdefghij"
KEY = "AAAAAAAAAAAAAAAAAAAAAA"
CHARACTERS = '\0\r\n\t ,;="%.&{}[]:\\A_-z09\x7f\x80\xff\u2028\ud800\U0001f600'


class Fuzzed(Request):
    """A request that has nothing but what is fuzzed."""

    content_type = "application/json"
    peer = ""
    SCHEME = ""

    @staticmethod
    def headers_in(scope: Any, fields: Any) -> Any:
        return scope

    def __init__(self, scope: Any, *_: object) -> None:
        super().__init__(scope, dict)
        self._text: str = scope["text"]
        self._body = self.query_string

    @property
    def query_string(self) -> bytes:
        return self._text.encode("utf-8", "surrogatepass")

    def header_names(self) -> set[str]:
        return {self._text}

    def headers(self, name: str) -> list[str]:
        return [self._text]

    def path_param(self, name: str) -> object:
        return self._text


def mutations(valid: str, random: Random) -> Iterator[str]:
    """Yield the text with one to four places changed, removed, doubled or inserted, without end."""
    choice, index = random.choice, random.randrange
    while True:
        text = valid
        for _ in range(choice((1, 1, 1, 2, 4))):
            start = index(len(text) + 1)
            kind = index(6)
            if kind == 0:
                text = text[:start] + choice(CHARACTERS) + text[start + 1 :]
            elif kind == 1:
                text = text[:start] + choice(CHARACTERS) + text[start:]
            elif kind == 2:
                text = text[:start] + text[start + index(8) :]
            elif kind == 3:
                text = text[: start + index(8)] + text[start:]
            elif kind == 4:
                text = text[start:] + text[:start]
            else:
                text = text[:start] + choice(valid) + text[start + 1 :]
        yield text


def signed_parts(text: str) -> tuple[str, str]:
    session_id, _, signature = text.partition(" ")
    return session_id, signature


COOKIE = SignedCookie(SECRET)
SHARED_SECRET = SharedSecret(SECRET)
HOST = "retrieval.internal"

# What is accepted of a text: the signed part as it was read.
Read = Callable[[str], str | None]


def read_cookie(text: str) -> str | None:
    if COOKIE.key([text]) is None:
        return None
    # Other cookies may have been put in beside it, and spaces.
    pair = next(pair for pair in text.split(";") if COOKIE.key([pair]) is not None)
    return "=".join(part.strip(" \t") for part in pair.split("="))


def read_signature(text: str) -> str | None:
    session_id, signature = signed_parts(text)
    return text if SHARED_SECRET.verify(session_id, signature, HOST) else None


def read_headers(baggage: list[str], plain: list[str], signature: str) -> str | None:
    session_id = named_session_id(baggage, plain)
    if session_id is None or not SHARED_SECRET.verify(session_id, signature, HOST):
        return None
    return f"{session_id} {signature}"


def read_baggage(text: str) -> str | None:
    session_id, signature = signed_parts(text)
    return read_headers([f"session.id={session_id}"], [], signature)


def read_plain_header(text: str) -> str | None:
    session_id, signature = signed_parts(text)
    return read_headers([], [session_id], signature)


READERS: dict[str, Read] = {
    "cookie": read_cookie,
    "signature": read_signature,
    "baggage": read_baggage,
    "plain header": read_plain_header,
}


#: What is not signed cannot be told from what is meant: the keys, each with an input.
KEYS = {
    "header": (header("X-Chat-ID"), "chat 42"),
    "query": (query("chat"), "a=b&chat=chat%2042"),
    "baggage": (baggage("chat"), "a=b,chat=chat%2042;p=1"),
    "dotted json_field": (json_field("chat.id"), '{"chat": {"id": "chat 42"}}'),
    "json_field": (json_field("chat"), '{"chat": "chat 42", "text": "[[[]]] \\u0000 1e999"}'),
}
fuzzing = settings(
    max_examples=math.ceil(INPUTS / (len(READERS) + len(KEYS)) / INPUTS_OF_AN_EXAMPLE),
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("name", READERS)
@fuzzing
@given(random=st.randoms(use_true_random=True))
def test_nothing_is_accepted_that_was_not_signed(name: str, random: Random) -> None:
    """However near it comes to what was."""
    signed = f"{SESSION_ID} {SHARED_SECRET.sign(SESSION_ID, HOST)}"
    valid = COOKIE.header(KEY, is_secure=False).partition(";")[0] if name == "cookie" else signed
    read = READERS[name]
    assert read(valid) == valid
    for text in islice(mutations(valid, random), INPUTS_OF_AN_EXAMPLE):
        assert read(text) in {None, valid}, ascii(text)


@pytest.mark.parametrize("name", KEYS)
@fuzzing
@given(random=st.randoms(use_true_random=True))
def test_no_key_raises(name: str, manager: SessionManager, random: Random) -> None:
    """It is a key of up to 256 characters, or none."""
    key, valid = KEYS[name]
    incoming = Incoming(Fuzzed, dict, key=key)
    for text in islice(mutations(valid, random), INPUTS_OF_AN_EXAMPLE):
        session = incoming.session(manager, {"text": text})
        assert session.key is None or 0 < len(session.key) <= 256
