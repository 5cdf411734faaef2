"""In a process in which gevent has turned threads into greenlets."""

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import pytest

from tests.faults import FaultServer, Play
from tests.interpreters import needs
from tests.sessions_api import Gate, SessionsAPI
from tests.waiting import MARGIN, PATIENCE, in_threads

pytestmark = needs("gevent")

BEGINNING = """
from gevent import monkey
monkey.patch_all()
import gevent, json, os
from hl_sessions import *
manager = SessionManager(os.environ["URL"], **json.loads(os.environ["SETTINGS"]))
"""


def in_greenlets(code: str, base_url: str, beginning: str = BEGINNING, **settings: Any) -> Any:
    """The output of code that runs in a separate process with a ``manager``."""
    process = subprocess.run(
        [sys.executable, "-c", beginning + textwrap.dedent(code)],
        env={
            **os.environ,
            "URL": base_url,
            "SETTINGS": json.dumps({"retries": 0, "timeout": PATIENCE, **settings}),
        },
        stdout=subprocess.PIPE,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    return json.loads(process.stdout)


def opened_after_a_request(gate: Gate) -> None:
    def open_gate() -> None:
        assert gate.arrived.wait(PATIENCE)
        gate.opened.set()

    in_threads(open_gate)


IMPORTED_BEFORE = """
import gevent, json, os
from hl_sessions import *
manager = SessionManager(os.environ["URL"], **json.loads(os.environ["SETTINGS"]))
from gevent import monkey
monkey.patch_all()
"""


@pytest.mark.parametrize("beginning", [BEGINNING, IMPORTED_BEFORE], ids=["patched-first", "patched-last"])
@pytest.mark.parametrize("prefetch", [0, 4])
def test_greenlets_that_read_together(
    sessions_api: SessionsAPI, gate: Gate, beginning: str, prefetch: int
) -> None:
    """They get the one ID of one POST, and other greenlets run on in the meantime.

    Also where the application was loaded before gevent's patches, as ``gunicorn -k gevent --preload`` does.
    """
    opened_after_a_request(gate)
    code = """
    ticks = 0

    def tick():
        global ticks
        while True:
            ticks += 1
            gevent.sleep(0.001)

    ticker = gevent.spawn(tick)
    with manager.session() as session, manager.session(new=True) as other:
        greenlets = [gevent.spawn(lambda s=s: s.id) for s in (session, other) for _ in range(50)]
        gevent.joinall(greenlets)
        ids = [greenlet.value for greenlet in greenlets]
        print(json.dumps([ids, session.peek(), other.peek(), ticks]))
    """
    ids, of_session, of_other, ticks = in_greenlets(code, sessions_api.base_url, beginning, prefetch=prefetch)
    assert ids == [of_session] * 50 + [of_other] * 50
    assert None not in {of_session, of_other}
    assert of_session != of_other
    assert ticks > 1
    assert 2 <= sessions_api.posts <= 2 + prefetch
    if not prefetch:
        assert sessions_api.posts == 2


def test_a_greenlet_starts_empty(sessions_api: SessionsAPI) -> None:
    """A spawned greenlet is outside of the scope; a bound function takes the session along."""
    code = """
    with manager.session() as session:
        greenlets = [gevent.spawn(current_session_id), gevent.spawn(bind(current_session_id))]
        gevent.joinall(greenlets)
        print(json.dumps([session.id, *(greenlet.value for greenlet in greenlets)]))
    """
    session_id, spawned, bound = in_greenlets(code, sessions_api.base_url)
    assert spawned is None
    assert bound == session_id is not None


def test_an_api_that_hangs(serve: Callable[[Play], FaultServer]) -> None:
    """The time limit holds for all greenlets together, and then the outage is known."""
    server = serve(lambda wire: None)
    code = """
    import logging, time
    from hl_sessions.client.deadline import Deadline
    Deadline.is_late = lambda _: False  # however busy the machine is
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logging.getLogger("hl_sessions").addHandler(handler)

    def read():
        with manager.session() as session:
            return session.id

    started = time.monotonic()
    greenlets = [gevent.spawn(read) for _ in range(50)]
    gevent.joinall(greenlets)
    after = read()
    print(json.dumps([
        [greenlet.value for greenlet in greenlets], after, time.monotonic() - started,
        [record.levelname for record in records],
    ]))
    """
    ids, after, seconds, levels = in_greenlets(code, server.base_url, timeout=0.5)
    assert ids == [None] * 50
    assert after is None
    assert 0.4 < seconds < 0.5 + MARGIN
    assert levels == ["WARNING"]


def test_a_killed_greenlet(sessions_api: SessionsAPI, gate: Gate) -> None:
    """A greenlet that is killed while it creates leaves the creation to the next one."""
    opened_after_a_request(gate)
    code = """
    with manager.session() as session:
        creator = gevent.spawn(lambda: session.id)
        gevent.sleep(0)
        waiter = gevent.spawn(lambda: session.id)
        gevent.sleep(0)
        creator.kill()
        waiter.join()
        print(json.dumps([waiter.value, session.peek()]))
    """
    waited, known = in_greenlets(code, sessions_api.base_url)
    assert waited == known is not None


def test_reads_in_asyncio_beside_greenlets(sessions_api: SessionsAPI) -> None:
    """An event loop in a patched process works, too."""
    code = """
    import asyncio

    async def read():
        async with manager.session() as session:
            return await session.aid()

    print(json.dumps(asyncio.run(read())))
    """
    assert in_greenlets(code, sessions_api.base_url).startswith("sesh_")
