"""Session IDs in header fields, and the signature that earns trust."""

import base64
import re
import subprocess
import sys
import time
from typing import Any

import pytest

from hl_sessions import ConfigurationError
from hl_sessions.carrying import SharedSecret
from hl_sessions.carrying.headers import baggage_with, named_session_id
from tests.waiting import PATIENCE

SESSION_ID = "sesh_0123-Az_"
OTHER_ID = "sesh_4567"
SECRET = "a secret of two services"
NEW_SECRET = "the secret that comes next"
NOW = 1_800_000_000
HOST = "retrieval.internal"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets the time."""

    def set_time(seconds: float) -> None:
        monkeypatch.setattr(time, "time", lambda: seconds)

    set_time(NOW)
    return set_time


def test_a_signature_is_good_for_its_id_only() -> None:
    """Signed by one service, verified by another that has the secret."""
    signature = SharedSecret(SECRET).sign(SESSION_ID, HOST)
    assert SharedSecret(SECRET).verify(SESSION_ID, signature, HOST)
    assert not SharedSecret(SECRET).verify(OTHER_ID, signature, HOST)
    assert not SharedSecret(NEW_SECRET).verify(SESSION_ID, signature, HOST)


@pytest.mark.parametrize(
    ("called", "named", "good"),
    [
        pytest.param("a.internal", "a.internal", True, id="same"),
        pytest.param("A.Internal.", "a.internal", True, id="spelling"),
        pytest.param("a.internal:9000", "a.internal", True, id="proxy-that-drops-the-port"),
        pytest.param("a.internal", "a.internal:8443", True, id="proxy-that-adds-the-port"),
        pytest.param("::1", "[::1]:9000", True, id="address"),
        pytest.param("a.internal", "b.internal", False, id="other"),
        pytest.param("a.internal", "x.a.internal", False, id="below"),
        pytest.param("a.internal", "a.internal.evil", False, id="longer"),
        pytest.param("a.internal", "a.internal,b", False, id="two"),
        pytest.param("a.internal", "", False, id="none"),
    ],
)
def test_a_signature_is_good_for_its_host_only(called: str, named: str, *, good: bool) -> None:
    """Whichever port each side knows: proxies leave it out, or listen on another one."""
    signature = SharedSecret(SECRET).sign(SESSION_ID, called)
    assert SharedSecret(SECRET).verify(SESSION_ID, signature, named) is good


def test_a_service_that_knows_its_names_believes_no_other() -> None:
    """For any host in the request: a proxy may have changed it, and any client can write it."""
    secret = SharedSecret(SECRET, hosts=["Retrieval.internal", "search.example"])
    for host in ("retrieval.internal", "search.example"):
        assert secret.verify(SESSION_ID, secret.sign(SESSION_ID, host), "127.0.0.1:8000")
    assert not secret.verify(SESSION_ID, secret.sign(SESSION_ID, "127.0.0.1"), "127.0.0.1")


@pytest.mark.parametrize("hosts", [[], "retrieval.internal", ["a:80"], ["http://a"], [""], [None], 7])
def test_wrong_names_of_a_service_are_refused(hosts: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^hosts.* give a list of names without ports"):
        SharedSecret(SECRET, hosts=hosts)


@pytest.mark.parametrize("hosts", ["http://user:hidden@a", ["http://user:hidden@a"], [b"user:hidden@a"]])
def test_no_password_is_shown(hosts: Any) -> None:
    """A URL given by mistake may hold one."""
    with pytest.raises(ConfigurationError, match=r"^hosts.*a URL \(not shown\)") as caught:
        SharedSecret(SECRET, hosts=hosts)
    assert "hidden" not in str(caught.value)


def test_no_password_is_shown_of_the_host_that_is_signed_for() -> None:
    with pytest.raises(ValueError, match=r"host=a URL \(not shown\)") as caught:
        SharedSecret(SECRET).sign(SESSION_ID, "http://user:hidden@a")
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("age", "good"), [(0, True), (300, True), (301, False), (10**9, False), (-30, True), (-31, False)]
)
def test_a_signature_is_good_for_five_minutes(clock: Any, age: int, *, good: bool) -> None:
    """And a clock that is half a minute ahead does not matter."""
    signature = SharedSecret(SECRET).sign(SESSION_ID, HOST)
    clock(NOW + age)
    assert SharedSecret(SECRET).verify(SESSION_ID, signature, HOST) is good


def test_calls_of_a_minute_have_the_same_signature(clock: Any) -> None:
    """Those of the next one a new one, so that each is good for four minutes at the least."""
    secret = SharedSecret(SECRET)
    first = secret.sign(SESSION_ID, HOST)
    clock(NOW + 59)
    assert secret.sign(SESSION_ID, HOST) == first
    assert secret.sign(OTHER_ID, HOST) != first != secret.sign(SESSION_ID, "other.internal")
    clock(NOW + 60)
    assert secret.sign(SESSION_ID, HOST) != first


def test_secrets_rotate_without_a_gap() -> None:
    """Of a list the last one signs, and all verify, so that services may change one after the other."""
    services = [SharedSecret([NEW_SECRET, SECRET]), SharedSecret([SECRET, NEW_SECRET])]
    for sender in services:
        for receiver in services:
            assert receiver.verify(SESSION_ID, sender.sign(SESSION_ID, HOST), HOST)
    assert SharedSecret(NEW_SECRET).verify(SESSION_ID, services[1].sign(SESSION_ID, HOST), HOST)
    assert not SharedSecret(SECRET).verify(SESSION_ID, services[1].sign(SESSION_ID, HOST), HOST)


def test_a_mac_of_another_use_of_the_secret_is_no_signature() -> None:
    """The signature has a salt of its own."""
    import itsdangerous

    foreign = itsdangerous.TimestampSigner(SECRET).sign(f"{SESSION_ID} {HOST}").decode()
    signature = ".".join(foreign.rsplit(".", 2)[1:])
    assert not SharedSecret(SECRET).verify(SESSION_ID, signature, HOST)


@pytest.mark.parametrize(
    ("secret", "shown"),
    [
        pytest.param("fifteen letters", "has only 15 characters", id="short"),
        pytest.param("", "has only 0 characters", id="empty"),
        pytest.param([SECRET, "fifteen letters"], "has only 15 characters", id="one-short"),
        pytest.param([], "is a list without a secret", id="none"),
        pytest.param(None, "is a NoneType without a secret", id="not-given"),
        pytest.param(SECRET.encode(), "is a bytes without a secret", id="bytes"),
        pytest.param([SECRET.encode()], "holds a bytes", id="list-of-bytes"),
        pytest.param("fifteen letters \ud800", "is not Unicode text", id="surrogate"),
    ],
)
def test_a_wrong_secret_is_refused_and_not_shown(secret: Any, shown: str) -> None:
    """The message says what is wrong and what is wanted."""
    with pytest.raises(ConfigurationError, match=f"^secret {shown}; give a str") as caught:
        SharedSecret(secret)
    assert "fifteen" not in str(caught.value)


def test_no_repr_shows_a_secret() -> None:
    """Neither as text nor as bytes."""
    assert repr(SharedSecret(SECRET)) == "<SharedSecret>"


@pytest.mark.parametrize("session_id", ["", "sesh_", "sesh_a.b", "sesh_a\n", "abc", None])
def test_only_a_session_id_is_signed(session_id: Any) -> None:
    """A text that could be taken for another ID and another time is no ID."""
    with pytest.raises(ValueError, match=r"^session_id must be of the form sesh_\.\.\.$"):
        SharedSecret(SECRET).sign(session_id, HOST)


def test_the_missing_library_is_named_with_its_command() -> None:
    """Of the core, only this class needs it."""
    code = (
        "import sys; sys.modules['itsdangerous'] = None\n"
        "from hl_sessions.carrying import *; from hl_sessions.carrying.headers import *\n"
        "assert named_session_id([], ['sesh_a']); SharedSecret('a secret of two services')"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert "ImportError: SharedSecret needs itsdangerous: pip install 'hl-sessions[signing]'" in result.stderr


def broken(signature: str) -> list[str]:
    """Everything that is one step away from a good signature."""
    alphabet = "".join(sorted(set(base64.urlsafe_b64encode(bytes(range(256))).decode()) | set(".;,\0é ")))
    changed = [
        signature[:place] + character + signature[place + 1 :]
        for place in range(len(signature))
        for character in alphabet
    ]
    cut = [signature[:length] for length in range(len(signature))]
    grown = [f"{signature}{end}" for end in ("\n", "\0", "=", " ", ".", "A")]
    return [*changed, *cut, *grown, signature * 2500, "\0" * 100_000, "é" * 100_000, "." * 100_000]


def test_no_broken_signature_is_good() -> None:
    """Not with any character changed, taken away or added, and each answer comes at once."""
    signature = SharedSecret(SECRET).sign(SESSION_ID, HOST)
    secret = SharedSecret([NEW_SECRET, SECRET])
    assert secret.verify(SESSION_ID, signature, HOST)
    started = time.process_time()
    accepted = [
        each for each in broken(signature) if each != signature and secret.verify(SESSION_ID, each, HOST)
    ]
    assert accepted == []
    assert time.process_time() - started < 2


@pytest.mark.parametrize("wrong", [None, b"", 1, [], "\ud800", "sesh_" + "a" * 65])
def test_what_is_no_text_is_not_good(wrong: Any) -> None:
    """As an ID, a signature or a host."""
    secret = SharedSecret(SECRET)
    signature = secret.sign(SESSION_ID, HOST)
    assert not secret.verify(SESSION_ID, wrong, HOST)
    assert not secret.verify(wrong, signature, HOST)
    assert not secret.verify(SESSION_ID, signature, wrong)


@pytest.mark.parametrize(
    ("baggage", "plain", "named"),
    [
        pytest.param([], [], None, id="nothing"),
        pytest.param([], ["sesh_a"], "sesh_a", id="plain"),
        pytest.param([], [" sesh_a\t"], "sesh_a", id="plain-with-space"),
        pytest.param([], ["sesh_a;p=1"], None, id="plain-with-property"),
        pytest.param(["session.id=sesh_a"], [], "sesh_a", id="baggage"),
        pytest.param(["session.id=sesh_a;p=1"], [], "sesh_a", id="property"),
        pytest.param(["a=1 , session.id = sesh_a ; p ; q=2 , b=2"], [], "sesh_a", id="space"),
        pytest.param(["a=1", "b=2,session.id=sesh_a"], [], "sesh_a", id="several-headers"),
        pytest.param(["session.id=%73esh%5Fa"], [], "sesh_a", id="percent"),
        pytest.param(["session.id=sesh_a,session.id=sesh_a"], [], "sesh_a", id="twice-the-same"),
        pytest.param(["session.id=sesh_a"], ["sesh_a"], "sesh_a", id="both-the-same"),
        pytest.param([",,=,;,a,session.id=sesh_a"], [], "sesh_a", id="beside-rubbish"),
        pytest.param(["session.id=sesh_a,session.id=sesh_b"], [], None, id="two"),
        pytest.param(["session.id=sesh_a", "session.id=sesh_b"], [], None, id="two-headers"),
        pytest.param(["session.id=sesh_a"], ["sesh_b"], None, id="both-different"),
        pytest.param([], ["sesh_a", "sesh_a"], None, id="two-plain"),
        pytest.param([], ["sesh_a,sesh_a"], None, id="two-plain-in-one"),
        pytest.param(["session.id=sesh_a,session.id=\0"], [], None, id="one-malformed"),
        pytest.param(["session.id"], [], None, id="no-value"),
        pytest.param(["session.id=sesh_"], [], None, id="empty-id"),
        pytest.param(["session.id=sesh_" + "a" * 65], [], None, id="long-id"),
        pytest.param(["session.id=sesh_a%0A"], [], None, id="line-break"),
        pytest.param(["session.id=sesh_%C3%A9"], [], None, id="not-ascii"),
        pytest.param(["session.id=sesh_%FF"], [], None, id="not-utf-8"),
        pytest.param(["Session.ID=sesh_a"], [], None, id="other-key"),
        pytest.param(["session.id=sesh_a," + "a" * 8175], [], None, id="one-too-long"),
        pytest.param(["session.id=sesh_a", "a" * 4096, "a" * 4096], [], None, id="too-long-together"),
        pytest.param([], ["sesh_a" + " " * 8192], None, id="plain-too-long"),
    ],
)
def test_the_session_that_headers_name(baggage: list[str], plain: list[str], named: str | None) -> None:
    """One that is clear and well-formed, or none."""
    assert named_session_id(iter(baggage), iter(plain)) == named


def test_headers_of_the_greatest_length_count() -> None:
    """8192 characters, as W3C demands."""
    header = "session.id=sesh_a," + "a" * (8192 - 18)
    assert len(header) == 8192
    assert named_session_id([header], []) == "sesh_a"


@pytest.mark.parametrize(
    ("own", "sent"),
    [
        pytest.param("", "session.id=sesh_a", id="empty"),
        pytest.param(" ", "session.id=sesh_a", id="space"),
        pytest.param("a=1;p, b=%20", "a=1;p, b=%20,session.id=sesh_a", id="others"),
        pytest.param("my.session.id=x", "my.session.id=x,session.id=sesh_a", id="other-key"),
        pytest.param("a=1, session.id = x;p,b=2", "a=1,b=2,session.id=sesh_a", id="another-session"),
        pytest.param("session.id=x,session.id=y", "session.id=sesh_a", id="two-sessions"),
    ],
)
def test_baggage_has_one_session_beside_its_other_members(own: str, sent: str) -> None:
    """And these are as they were."""
    assert baggage_with(own, "sesh_a") == sent


def test_opentelemetry_reads_what_we_write() -> None:
    """The ID and nothing else, beside the other members: span processors take it from there."""
    pytest.importorskip("opentelemetry.baggage")
    from opentelemetry import baggage
    from opentelemetry.baggage.propagation import W3CBaggagePropagator

    read = W3CBaggagePropagator().extract({"baggage": baggage_with("a=1", SESSION_ID)})
    assert dict(baggage.get_all(read)) == {"a": "1", "session.id": SESSION_ID}


def test_whatever_comes_names_a_well_formed_id_or_none(clock: Any) -> None:
    """And nothing but the one good signature is ever accepted."""
    pytest.importorskip("hypothesis")
    from hypothesis import given, settings
    from hypothesis import strategies as st

    clock(NOW)
    secret = SharedSecret(SECRET)
    good = secret.sign(SESSION_ID, HOST)
    fragments = ["session.id", "=", ";", ",", SESSION_ID, good, HOST, " ", "sesh_", "%", "%73", "%00", "\0"]
    text = st.sampled_from(fragments) | st.text(max_size=20)
    header = st.lists(text, max_size=12).map("".join)

    @settings(max_examples=150, deadline=None, database=None)
    @given(st.lists(header, max_size=3), st.lists(header, max_size=2))
    def check(baggage: list[str], plain: list[str]) -> None:
        session_id = named_session_id(baggage, plain)
        assert session_id is None or re.fullmatch("sesh_[A-Za-z0-9_-]{1,64}", session_id)
        for each in [*baggage, *plain]:
            assert not secret.verify(SESSION_ID, each, HOST) or each == good
            assert not secret.verify(each, good, HOST) or each == SESSION_ID

    check()
