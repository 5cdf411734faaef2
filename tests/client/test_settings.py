"""A wrong setting is found where it is given, and named."""

import threading
from fractions import Fraction
from typing import Any

import pytest

from hl_sessions import ConfigurationError, SessionsClient

URL = "http://127.0.0.1:8642/v4"
SECRET = "hl_sk_top_secret"


@pytest.mark.parametrize(
    ("base_url", "shown"),
    [
        pytest.param("", "''", id="empty"),
        pytest.param("127.0.0.1:8642/v4", "'127.0.0.1:8642/v4'", id="no-scheme"),
        pytest.param("ftp://host/v4", "'ftp://host/v4'", id="other-scheme"),
        pytest.param("file:///etc/passwd", "'file:///etc/passwd'", id="file"),
        pytest.param("http://", "'http://'", id="no-host"),
        pytest.param("http:///v4", "'http:///v4'", id="only-a-path"),
        pytest.param("http://host/v4?a=b", "'http://host/v4[?][.]{3}'", id="query"),
        pytest.param("http://host/v4#a", "'http://host/v4#[.]{3}'", id="fragment"),
        pytest.param("http://host/v4?", "'http://host/v4[?]'", id="empty-query"),
        pytest.param("http://ho st/v4", "'http://ho st/v4'", id="space"),
        pytest.param("http://host/v4\r\nX: 1", r"\\r\\n", id="line-break"),
        pytest.param("http://host:port/v4", "port", id="port-name"),
        pytest.param("http://host:99999/v4", "0-65535", id="port-number"),
        pytest.param("http://[::1/v4", "IPv6", id="half-an-address"),
        pytest.param("http://a..b/v4", "does not name a host", id="empty-label"),
        pytest.param("http://.example/v4", "does not name a host", id="dot-in-front"),
        pytest.param(f"http://{'a' * 64}.example/v4", "does not name a host", id="long-label"),
        pytest.param("http://host\\x/v4", "a backslash", id="backslash"),
        pytest.param(None, "NoneType", id="none"),
        pytest.param(b"http://host/v4", "bytes", id="bytes"),
    ],
)
def test_a_wrong_base_url_is_refused(base_url: Any, shown: str) -> None:
    """The message names the setting, shows its value and says what is wanted."""
    with pytest.raises(ConfigurationError, match=f"^base_url.*{shown}.*http://127.0.0.1:8642/v4"):
        SessionsClient(base_url)


@pytest.mark.parametrize("base_url", ["http://*/v4", "http://a%zz/v4", "http://[v1.a]/v4", "http://。/v4"])
def test_what_the_http_client_would_refuse_is_refused_at_once(base_url: str) -> None:
    """Not only when the first session is created."""
    with pytest.raises(ConfigurationError, match=r"^base_url=.* (cannot be called|does not name a host)"):
        SessionsClient(base_url)


@pytest.mark.parametrize("user", [f"user:{SECRET}@", f"{SECRET}@", f":{SECRET}@", "@"])
def test_no_password_in_the_base_url(user: str) -> None:
    """It is refused, as it would be sent with every request, and it is not shown."""
    with pytest.raises(
        ConfigurationError, match=r"^base_url must not hold a user name or password"
    ) as failure:
        SessionsClient(f"http://{user}host/v4")
    assert SECRET not in repr(failure.value)
    assert failure.value.__context__ is None


@pytest.mark.parametrize(
    "base_url",
    [
        f"user:{SECRET}@host/v4",
        f"ftp://host/v4?key={SECRET}",
        f"http://host/v4?key={SECRET}",
        f"http://host/v4#{SECRET}",
        f"http://user:{SECRET}/1@host/v4",
    ],
)
def test_no_secret_of_a_wrong_base_url_is_shown(base_url: str) -> None:
    """Passwords and keys are somewhere else in what is no URL."""
    with pytest.raises(ConfigurationError, match=r"^base_url") as failure:
        SessionsClient(base_url)
    assert SECRET not in repr(failure.value)


@pytest.mark.parametrize(
    "base_url", [URL, URL + "/", "https://api.invalid", "http://[::1]:80/v4", "http://bücher.invalid/v4"]
)
def test_a_base_url_is_kept_without_its_last_slash(base_url: str) -> None:
    """http and https, with or without port and path."""
    with SessionsClient(base_url) as client:
        assert client.base_url == base_url.rstrip("/")
        assert client.base_url in repr(client)


WRONG_KEYS = [
    pytest.param("", id="empty"),
    pytest.param(SECRET + "\n", id="trailing-newline"),
    pytest.param(SECRET + "\r\nX-Injected: 1", id="line-break"),
    pytest.param(" " + SECRET, id="leading-space"),
    pytest.param(SECRET + " ", id="trailing-space"),
    pytest.param(SECRET + "é", id="not-ascii"),
    pytest.param(SECRET + "\0", id="nul"),
    pytest.param(SECRET + "\x7f", id="delete"),
    pytest.param(SECRET.encode(), id="bytes"),
    pytest.param(5, id="number"),
    pytest.param([SECRET], id="list"),
]


@pytest.mark.parametrize("name", ["api_key", "api_key_prefix"])
@pytest.mark.parametrize("key", WRONG_KEYS)
def test_a_wrong_key_is_refused_and_not_shown(name: str, key: Any) -> None:
    """The message names the setting; the value is a secret, even where it is wrong."""
    with pytest.raises(ConfigurationError, match=rf"^{name}\b") as failure:
        SessionsClient(URL, **{"api_key": "other", name: key})
    assert SECRET not in repr(failure.value)
    assert failure.value.__context__ is None


@pytest.mark.parametrize(
    "timeout",
    [
        0,
        0.0,
        -1,
        -0.5,
        float("nan"),
        float("inf"),
        10**400,
        2 * threading.TIMEOUT_MAX,
        True,
        "5",
        None,
        (1, 2),
        [5],
        1j,
    ],
    ids=repr,
)
def test_a_wrong_timeout_is_refused(timeout: Any) -> None:
    """It is a positive, finite number of seconds."""
    with pytest.raises(ConfigurationError, match=r"^timeout=.* number of seconds$") as failure:
        SessionsClient(URL, timeout=timeout)
    assert repr(timeout) in str(failure.value)


@pytest.mark.parametrize("retries", [-1, 1.0, "2", None, True, Fraction(1)], ids=repr)
def test_wrong_retries_are_refused(retries: Any) -> None:
    """They are a whole number, 0 or more."""
    with pytest.raises(
        ConfigurationError, match=r"^retries=.* must be a whole number, 0 or more$"
    ) as failure:
        SessionsClient(URL, retries=retries)
    assert repr(retries) in str(failure.value)


def test_another_library_in_the_place_of_urllib3_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time limits would not work; the error names the cause and the way out."""
    monkeypatch.setattr("urllib3.__version__", "2.25.904")
    with pytest.raises(ConfigurationError, match=r"by which niquests replaces .* URLLIB3_NO_OVERRIDE=1"):
        SessionsClient(URL)
