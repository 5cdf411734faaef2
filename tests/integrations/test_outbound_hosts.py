"""Which calls carry the session: what is said about a wrong list, and how hosts compare."""

from typing import Any

import pytest

from hl_sessions import ConfigurationError
from hl_sessions.carrying import SharedSecret
from hl_sessions.integrations.outbound import Outbound

SECRET = "a secret of two services"


@pytest.mark.parametrize(
    ("hosts", "shown"),
    [
        pytest.param("retrieval.internal", "^hosts='retrieval.internal' is a str", id="str"),
        pytest.param([], r"^hosts=\[\] is empty", id="empty"),
        pytest.param(None, "^hosts is a NoneType", id="none"),
        pytest.param({"a": 1}, "^hosts is a dict", id="dict"),
        pytest.param(["http://retrieval.internal"], "^hosts has 'http://retrieval.internal'", id="url"),
        pytest.param(["retrieval.internal/v1"], "^hosts has 'retrieval.internal/v1'", id="path"),
        pytest.param(["*.internal"], r"^hosts has '\*.internal'", id="wildcard"),
        pytest.param(["a", ""], "^hosts has ''", id="empty-name"),
        pytest.param(["a:"], "^hosts has 'a:'", id="empty-port"),
        pytest.param(["a:0"], "^hosts has 'a:0'", id="port-0"),
        pytest.param(["a:65536"], "^hosts has 'a:65536'", id="great-port"),
        pytest.param(["a:b"], "^hosts has 'a:b'", id="port-name"),
        pytest.param(["::1"], "^hosts has '::1'", id="address-without-brackets"),
        pytest.param(["bücher.example"], "^hosts has 'bücher.example'", id="not-ascii"),
        pytest.param(["a\n"], r"^hosts has 'a\\n'", id="line-break"),
        pytest.param([b"a"], "^hosts has b'a'", id="bytes"),
        pytest.param([1], "^hosts has 1,", id="number"),
    ],
)
def test_a_wrong_list_of_hosts_is_refused(hosts: Any, shown: str) -> None:
    """The message names the parameter, shows its value and says what is wanted."""
    with pytest.raises(ConfigurationError, match=rf"{shown}.*\['retrieval.internal', 'localhost:9000'\]"):
        Outbound(hosts, "baggage", None)


@pytest.mark.parametrize("hosts", ["http://user:hidden@a", ["http://user:hidden@a"], [b"user:hidden@a"]])
def test_no_password_is_shown(hosts: Any) -> None:
    """A URL given by mistake may hold one."""
    with pytest.raises(ConfigurationError, match=r"^hosts ") as caught:
        Outbound(hosts, "baggage", None)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("carrier", ["Baggage", "X-Session-ID", None, ["baggage"]])
def test_a_wrong_carrier_is_refused(carrier: Any) -> None:
    """There are two."""
    with pytest.raises(ConfigurationError, match=r"^carrier=.* must be 'baggage' or 'header'$"):
        Outbound(["a"], carrier, None)


def test_a_secret_that_is_plain_text_is_refused_and_not_shown() -> None:
    """The message says how to wrap it."""
    wrong: Any = SECRET
    with pytest.raises(ConfigurationError, match=r"^secret must be a SharedSecret, not str") as caught:
        Outbound(["a"], "baggage", wrong)
    assert SECRET not in str(caught.value)
    assert "SharedSecret('...')" in str(caught.value)
    Outbound(["a"], "baggage", SharedSecret(SECRET))


@pytest.mark.parametrize(
    ("listed", "scheme", "host", "port", "covered"),
    [
        pytest.param("a.internal", "http", "a.internal", None, True, id="same"),
        pytest.param("a.internal", "http", "a.internal", 9000, True, id="any-port"),
        pytest.param("A.Internal", "http", "a.iNTERNAL", None, True, id="case"),
        pytest.param("a.internal.", "http", "a.internal", None, True, id="listed-with-final-dot"),
        pytest.param("a.internal", "http", "a.internal.", None, True, id="called-with-final-dot"),
        pytest.param("a.internal:9000", "http", "a.internal", 9000, True, id="same-port"),
        pytest.param("a.internal:443", "https", "a.internal", None, True, id="default-port"),
        pytest.param("[::1]:9000", "http", "::1", 9000, True, id="address"),
        pytest.param("a.internal:443", "http", "a.internal", None, False, id="default-port-of-http"),
        pytest.param("a.internal:9000", "http", "a.internal", 9001, False, id="other-port"),
        pytest.param("a.internal", "http", "b.a.internal", None, False, id="below"),
        pytest.param("a.internal", "http", "internal", None, False, id="above"),
        pytest.param("a.internal", "http", "a.internal.evil.example", None, False, id="longer"),
        pytest.param("a.internal", "http", "evil-a.internal", None, False, id="ending"),
        pytest.param("a.internal", "http", "axinternal", None, False, id="no-pattern"),
        pytest.param("a.internal", "http", None, None, False, id="no-host"),
    ],
)
def test_a_host_is_covered_by_its_name_alone(
    listed: str, scheme: str, host: str | None, port: int | None, *, covered: bool
) -> None:
    """And by its port, where one is listed."""
    assert Outbound([listed], "baggage", None).covers(scheme, host, port) is covered
