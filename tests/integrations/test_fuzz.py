"""A million inputs from outside, each a little beside a valid one: none is accepted, none raises."""

from collections.abc import Callable, Iterator
from random import Random

import pytest

from hl_sessions import SessionManager
from hl_sessions.integrations.asgi import SignedCookie, header, json_field, query
from hl_sessions.integrations.incoming import Incoming, parsed_json
from hl_sessions.propagation import SharedSecret, encoded, session_ids

INPUTS = 1_000_000
SHARES = 4  # so that the parts can run side by side
SECRET = "a secret of many characters"
SESSION_ID = "sesh_0123456789abcdefghij"
KEY = "AAAAAAAAAAAAAAAAAAAAAA"
CHARACTERS = '\0\r\n\t ,;="%.&{}[]:\\A_-z09\x7f\x80\xff\u2028\ud800\U0001f600'


class Incomplete:
    """A request that has nothing but what is fuzzed."""

    native = None
    peer = ""
    is_secure = False

    def __init__(self, text: str) -> None:
        self._text = text

    @property
    def query_string(self) -> bytes:
        return self._text.encode("utf-8", "surrogatepass")

    @property
    def json(self) -> object:
        return parsed_json(self._text.encode("utf-8", "surrogatepass"))

    def headers(self, name: str) -> list[str]:
        return [self._text]

    def path_param(self, name: str) -> object:
        return self._text


def mutations(valid: str, random: Random) -> Iterator[str]:
    """Give the text with one to four places changed, cut out, doubled or put in, again and again."""
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
    session_id, _, signature = text.partition(";signature=")
    return session_id, signature


COOKIE = SignedCookie(SECRET)
SHARED_SECRET = SharedSecret(SECRET)
VALID_COOKIE = COOKIE.header(KEY, is_secure=False).partition(";")[0]
SIGNED = encoded(SESSION_ID, SHARED_SECRET.sign(SESSION_ID))


def accepts_cookie(text: str) -> bool:
    # Valid once more where what was put in is beside the pair, as other cookies are.
    return COOKIE.key([text]) is not None and VALID_COOKIE.partition("=")[2] not in text


def accepts_signature(text: str) -> bool:
    return SHARED_SECRET.verify(*signed_parts(text)) and text != SIGNED


def accepts_signed_header(text: str) -> bool:
    named = session_ids([f"session.id={text}"], [])
    if named is None or named[1] is None:
        return False
    return SHARED_SECRET.verify(named[0], named[1]) and encoded(*named) != SIGNED


def accepts_signed_plain_header(text: str) -> bool:
    named = session_ids([], [text])
    if named is None or named[1] is None:
        return False
    return SHARED_SECRET.verify(named[0], named[1]) and encoded(*named) != SIGNED


#: What reads from outside, with what is valid for it.
SECURED: dict[str, tuple[str, Callable[[str], bool]]] = {
    "cookie": (VALID_COOKIE, accepts_cookie),
    "signature": (SIGNED, accepts_signature),
    "baggage": (SIGNED, accepts_signed_header),
    "plain header": (SIGNED, accepts_signed_plain_header),
}


@pytest.mark.parametrize("share", range(SHARES))
def test_nothing_is_accepted_that_was_not_signed(share: int) -> None:
    """However near it comes to what was."""
    random = Random(share)
    assert all(not accepts(valid) for valid, accepts in SECURED.values())
    assert COOKIE.key([VALID_COOKIE]) == KEY
    assert SHARED_SECRET.verify(*signed_parts(SIGNED))
    for valid, accepts in SECURED.values():
        texts = mutations(valid, random)
        for _ in range(INPUTS // SHARES // len(SECURED)):
            text = next(texts)
            if text != valid:
                assert not accepts(text), ascii(text)


def test_no_key_raises(manager: SessionManager) -> None:
    """What is not signed cannot be told from what is meant: it is a key of up to 256 characters, or none."""
    valid = {
        header("X-Chat-ID"): "chat 42",
        query("chat"): "a=b&chat=chat%2042",
        json_field("chat"): '{"chat": "chat 42", "text": "[[[]]] \\u0000 1e999"}',
    }
    random = Random(0)
    for key, text in valid.items():
        incoming = Incoming(key, None, None)
        texts = mutations(text, random)
        for _ in range(10_000):
            session = incoming.session(manager, Incomplete(next(texts)))
            assert session.key is None or 0 < len(session.key) <= 256
