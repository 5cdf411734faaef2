"""The contents of errors, and the secrets that they never hold."""

import copy
import json
import logging
import pickle
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from typing import Any

import pytest

import hl_sessions
from hl_sessions import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    ConfigurationError,
    HLSessionsError,
    InvalidResponseError,
    NotFoundError,
    RateLimitError,
    ServerError,
    SessionManager,
    SessionsClient,
    ValidationError,
)
from tests.client.conftest import API_KEY, Call
from tests.faults import FaultServer, Play, Wire
from tests.sessions_api import Answer, SessionsAPI
from tests.waiting import PATIENCE

STATUSES = {
    300: APIStatusError,
    301: APIStatusError,
    304: APIStatusError,
    400: APIStatusError,
    401: AuthenticationError,
    402: APIStatusError,
    403: AuthenticationError,
    404: NotFoundError,
    405: APIStatusError,
    409: APIStatusError,
    413: APIStatusError,
    422: ValidationError,
    429: RateLimitError,
    499: APIStatusError,
    500: ServerError,
    501: ServerError,
    502: ServerError,
    503: ServerError,
    504: ServerError,
    599: ServerError,
    999: ServerError,
}


def status_error(client: SessionsClient) -> APIStatusError:
    with pytest.raises(APIStatusError) as failure:
        client.create()
    return failure.value


@pytest.mark.parametrize(("status", "kind"), STATUSES.items(), ids=map(str, STATUSES))
def test_a_status_is_an_error_of_its_class(
    client: SessionsClient, sessions_api: SessionsAPI, call: Call, status: int, kind: type[APIStatusError]
) -> None:
    """Every status outside 2xx raises, with all that came attached."""
    body = b"" if status == 304 else b'{"why": ["because"]}'
    sessions_api.answer = lambda _: Answer(status, body, {"X-Request-Id": "r-1"})
    with pytest.raises(APIStatusError) as failure:
        call(client, "create")
    error = failure.value
    assert type(error) is kind
    assert error.status == status
    assert error.body == ("" if status == 304 else {"why": ["because"]})
    assert error.headers["x-request-id"] == error.headers["X-REQUEST-ID"] == "r-1"
    assert 0 < error.round_trip_time < PATIENCE
    assert str(status) in str(error)
    assert len(sessions_api.requests) == 1


def test_the_tree_is_complete() -> None:
    """Every error of the package is exported, and caught by its common class."""
    below = {HLSessionsError}
    while more := {child for kind in below for child in kind.__subclasses__()} - below:
        below |= more
    public = {kind for kind in below if kind.__module__ == "hl_sessions.errors"}
    assert {kind.__name__ for kind in public} <= set(hl_sessions.__all__)
    assert len(public) == 11
    assert issubclass(APITimeoutError, APIConnectionError)
    assert issubclass(ConfigurationError, ValueError)
    assert not issubclass(InvalidResponseError, APIStatusError)


def test_the_reason_is_that_of_the_server(client: SessionsClient, sessions_api: SessionsAPI) -> None:
    """The words after the status are in the error and its message."""
    sessions_api.answer = lambda _: Answer(404)
    error = status_error(client)
    assert error.reason == "Not Found"
    asked = f"is base_url={sessions_api.base_url!r} that of a sessions API?"
    assert str(error) == f"the sessions API answered 404 Not Found; {asked}"
    assert repr(error) == "NotFoundError(404, 'Not Found')"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(b"", "", id="empty"),
        pytest.param(b"<html>", "<html>", id="html"),
        pytest.param(b"\xff", "\ufffd", id="no-text"),
        pytest.param(b"[" * 100_000, "[" * 100_000, id="deep"),
        pytest.param(b'["a", 1, null]', ["a", 1, None], id="list"),
    ],
)
def test_the_body_of_an_error_may_be_anything(
    client: SessionsClient, sessions_api: SessionsAPI, body: bytes, expected: Any
) -> None:
    """It is decoded if it is JSON, else it is text, and the status counts."""
    sessions_api.answer = lambda _: Answer(400, body)
    assert status_error(client).body == expected


DETAIL = [{"loc": ["query", "page"], "msg": "not a number", "type": "int_parsing"}]


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        pytest.param({"detail": DETAIL}, DETAIL, id="as-promised"),
        pytest.param({"detail": "no"}, [], id="text"),
        pytest.param({}, [], id="missing"),
        pytest.param([DETAIL], [], id="list"),
        pytest.param(b"<html>", [], id="html"),
    ],
)
def test_a_validation_error_has_the_detail(
    client: SessionsClient, sessions_api: SessionsAPI, body: Any, detail: Any
) -> None:
    """It is a list of problems, empty where the server gave none."""
    sessions_api.answer = lambda _: Answer(422, body)
    error = status_error(client)
    assert isinstance(error, ValidationError)
    assert error.detail == detail


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        pytest.param(None, None, id="none"),
        pytest.param("3600", 3600.0, id="number"),
        pytest.param("0", 0.0, id="zero"),
        pytest.param("604800", 604800.0, id="a-week"),
        pytest.param(" 7 ", 7.0, id="spaces"),
        pytest.param("1.5", None, id="fraction"),
        pytest.param("Wed Oct 21 07:28:00 2015", 0.0, id="past-date-without-zone"),
        pytest.param("Wed, 21 Oct 2015 07:28:00 GMT", 0.0, id="past-date"),
        pytest.param("soon", None, id="garbage"),
        pytest.param("-1", None, id="negative"),
        pytest.param("", None, id="empty"),
        pytest.param("nan", None, id="nan"),
        pytest.param("9" * 400, None, id="400-digits"),
        pytest.param("9" * 5000, None, id="5000-digits"),
        pytest.param("Wed, 21 Oct 99999 07:28:00 GMT", None, id="far-date"),
    ],
)
def test_a_rate_limit_error_says_when_to_come_back(
    client: SessionsClient, sessions_api: SessionsAPI, header: str | None, seconds: float | None
) -> None:
    """What is no time is none, and no other failure."""
    sessions_api.answer = lambda _: Answer(429, b"", {} if header is None else {"Retry-After": header})
    error = status_error(client)
    assert isinstance(error, RateLimitError)
    assert error.retry_after == seconds
    assert error.retry_after is None or isinstance(error.retry_after, float)


def test_a_rate_limit_error_understands_a_date(client: SessionsClient, sessions_api: SessionsAPI) -> None:
    """It is the seconds from now until then."""
    then = formatdate(time.time() + 100, usegmt=True)
    sessions_api.answer = lambda _: Answer(429, b"", {"Retry-After": then})
    error = status_error(client)
    assert isinstance(error, RateLimitError)
    assert error.retry_after == pytest.approx(100, abs=5)


def test_status_errors_survive_a_pickle(client: SessionsClient, sessions_api: SessionsAPI) -> None:
    """Errors cross processes whole: type, message and all attributes."""
    sessions_api.answer = lambda _: Answer(429, {"detail": "slow down"}, {"Retry-After": "7", "X-A": "b"})
    error = status_error(client)
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is RateLimitError
        assert str(again) == str(error)
        assert again.args == error.args
        assert again.headers["x-a"] == "b"
        assert vars(again) == vars(error)
        assert again.retry_after == 7.0


@pytest.mark.parametrize(
    "kind",
    [ConfigurationError, APIConnectionError, APITimeoutError, InvalidResponseError],
    ids=lambda k: k.__name__,
)
def test_other_errors_survive_a_pickle(kind: type[HLSessionsError]) -> None:
    """Type and message are the same."""
    again = pickle.loads(pickle.dumps(kind("what happened")))
    assert (type(again), str(again)) == (kind, "what happened")


def chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        if error.__cause__ is not None and error.__cause__ is not error.__context__:
            yield from chain(error.__cause__)
        error = error.__context__


def shown(value: Any) -> str:
    """All that can be read off a value: its texts, and those of what is in it."""
    if isinstance(value, dict) or hasattr(value, "items"):
        return "\n".join(shown(part) for item in value.items() for part in item)
    if isinstance(value, (list, tuple)):
        return "\n".join(map(shown, value))
    return f"{value}\n{value!r}"


def shown_of_error(error: BaseException) -> str:
    return "\n".join(
        shown(value)
        for link in chain(error)
        for value in (str(link), repr(link), link.args, vars(link), getattr(link, "doc", ""))
    )


FORMS = [
    API_KEY,
    repr(API_KEY)[1:-1],
    json.dumps(API_KEY)[1:-1],
    repr(repr(API_KEY))[2:-2],
]


def assert_no_key(text: str) -> None:
    assert [form for form in FORMS if form in text] == []
    assert "top" not in text  # a part of the key that is written the same in all forms


def echo(head: bytes, body: bytes = b"") -> Play:
    def play(wire: Wire) -> None:
        wire.read_request()
        wire.send(head, b"X-Echo: %s\r\nContent-Length: %d\r\n\r\n" % (API_KEY.encode(), len(body)), body)
        wire.say_no_more()

    return play


KEY = API_KEY.encode()
KEY_AS_JSON = json.dumps(API_KEY).encode()
UNICODE_ESCAPES = b'"%s"' % "".join(f"\\u{ord(character):04x}" for character in API_KEY).encode()


@pytest.mark.parametrize(
    "play",
    [
        pytest.param(echo(b"HTTP/1.1 401 No " + KEY + b"\r\n", KEY), id="text"),
        pytest.param(echo(b"HTTP/1.1 401 No\r\n", b'{"detail": [%s]}' % KEY_AS_JSON), id="json-list"),
        pytest.param(
            echo(b"HTTP/1.1 422 No\r\n", b'{%s: {"a": %s}}' % (KEY_AS_JSON, KEY_AS_JSON)), id="json-name"
        ),
        pytest.param(echo(b"HTTP/1.1 500 No\r\n", KEY_AS_JSON), id="json-string"),
        pytest.param(echo(b"HTTP/1.1 400 No\r\n", UNICODE_ESCAPES), id="json-escapes"),
        pytest.param(echo(b"HTTP/1.1 400 No\r\n", b"not JSON: " + KEY_AS_JSON), id="almost-json"),
        pytest.param(echo(b"HTTP/1.1 301 Moved\r\nLocation: /" + KEY + b"\r\n"), id="redirect"),
        pytest.param(echo(b"HTTP/1.1 429 No\r\nRetry-After: " + KEY + b"\r\n"), id="retry-after"),
        pytest.param(echo(b"HTTP/1.1 201 Created\r\n", KEY), id="created-text"),
        pytest.param(echo(b"HTTP/1.1 201 Created\r\n", b'{"id": %s}' % KEY_AS_JSON), id="created-id"),
        pytest.param(echo(b"HTTP/1.1 201 Created\r\n", b"{%s: 1}" % KEY_AS_JSON), id="created-name"),
        pytest.param(echo(b"HTTP/1.1 201 Created\r\nContent-Length: " + KEY + b"\r\n", b"{}"), id="length"),
        pytest.param(
            echo(b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n", KEY + b"\r\n"), id="chunk"
        ),
        pytest.param(echo(KEY + b"\r\n"), id="status-line"),
        pytest.param(echo(b"HTTP/1.1 " + KEY + b"\r\n"), id="status"),
        pytest.param(lambda wire: wire.reset(), id="reset"),
        pytest.param(lambda wire: None, id="timeout"),
    ],
)
def test_no_error_and_no_log_line_holds_the_key(
    *,
    serve: Callable[[Play], FaultServer],
    call: Call,
    caplog: pytest.LogCaptureFixture,
    play: Play,
) -> None:
    """Not even when the server sends the key back: not in the error, what led to it, nor a log record."""
    caplog.set_level(logging.DEBUG, logger="hl_sessions")
    server = serve(play)
    with SessionsClient(server.base_url, API_KEY, api_key_prefix="Bearer", timeout=0.2, retries=1) as client:
        with pytest.raises(HLSessionsError) as failure:
            call(client, "create")
        with SessionManager(client=client) as manager, manager.session() as session:
            assert session.id is None
        assert_no_key(repr(client) + repr(manager) + repr(session))
    assert_no_key(shown_of_error(failure.value))
    assert_no_key(shown(pickle.loads(pickle.dumps(failure.value)).args))
    records = [record for record in caplog.records if record.name.startswith("hl_sessions")]
    assert records
    assert_no_key("\n".join(record.getMessage() + repr(record.args) for record in records))


def test_what_the_server_says_of_others_is_kept(client: SessionsClient, sessions_api: SessionsAPI) -> None:
    """Only the key is taken out of an answer."""
    sessions_api.answer = lambda _: Answer(
        400, {"detail": f"the key {API_KEY} is old", "other": [1, True, None]}
    )
    assert status_error(client).body == {"detail": "the key *** is old", "other": [1, True, None]}


class TestHint:
    """A base URL without its version gets answers that do not say what is wrong."""

    @pytest.mark.parametrize(
        "answer",
        [
            pytest.param(Answer(403, b"Forbidden"), id="403"),
            pytest.param(Answer(404, b"Not Found"), id="404"),
            pytest.param(Answer(200, b"<html>", {"Content-Type": "text/html"}), id="html"),
        ],
    )
    def test_is_given_where_the_version_is_missing(self, sessions_api: SessionsAPI, answer: Answer) -> None:
        """The error names the base URL, and how it ends."""
        sessions_api.answer = lambda _: answer
        base_url = sessions_api.base_url.removesuffix("/v4")
        with (
            SessionsClient(base_url, retries=0) as client,
            pytest.raises(
                HLSessionsError, match=f"is base_url='{base_url}' complete\\? It ends with a version"
            ),
        ):
            client.create()

    @pytest.mark.parametrize(
        "answer", [Answer(403, b"Forbidden"), Answer(200, b"<html>")], ids=["403", "html"]
    )
    def test_is_not_given_where_it_is_there(self, sessions_api: SessionsAPI, answer: Answer) -> None:
        """Then something else is wrong."""
        sessions_api.answer = lambda _: answer
        with (
            SessionsClient(sessions_api.base_url, retries=0) as client,
            pytest.raises(HLSessionsError) as error,
        ):
            client.create()
        assert "complete?" not in str(error.value)
