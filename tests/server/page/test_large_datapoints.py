"""Sessions with megabytes of data: the shown parts, and the rest, which stays in the database."""

import html
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.server.page.conftest import Reader, url_of
from tests.server.page.test_session_page import text_of, turns_of
from tests.servers import served

MEGABYTE = 1024 * 1024
TEXT = 'Übung "macht"\\\n 漢字 den 😀 Meister. '
LONG = TEXT * (MEGABYTE // len(TEXT))


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def reader(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """The reader of a separate database: searches of other tests would read all of it."""
    database = tmp_path_factory.mktemp("large") / "large.sqlite3"
    if request.param == "postgresql":
        database = request.getfixturevalue("postgresql").new_database()
    with served(database) as base_url:
        reader = Reader(url_of(base_url))
        with reader.http:
            yield reader


def page_of(reader: Any, unique: str, *datapoints: dict[str, Any], view: str = "conversation") -> str:
    session = {"project": unique, "session_reference_id": unique}
    for datapoint in datapoints:
        created = reader.log(**session, **datapoint)
    page: str = reader.read(f"/sessions/{created['session_id']}?view={view}")
    return page


@pytest.mark.parametrize("view", ["conversation", "timeline"])
@pytest.mark.parametrize(
    "datapoint",
    [
        {"output": LONG},
        {"error": LONG},
        {"inputs": {"question": LONG}},
        {"inputs": {"question": "Why?", "context": LONG}},
        {"messages": [{"role": "user", "content": LONG}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": LONG}]}]},
    ],
    ids=["output", "error", "one input", "inputs", "message", "part"],
)
def test_of_a_large_value_the_beginning_is_shown(
    reader: Any, unique: str, datapoint: dict[str, Any], view: str
) -> None:
    page = page_of(reader, unique, datapoint, view=view)
    text = html.unescape(page)
    assert 19_000 < max(map(len, re.findall(r"(?:[^<>]|\n)+", text))) < 21_000
    assert TEXT * 10 in text
    assert re.search(r"Only the beginning of 1\.[34] MB\. All of it, as JSON", text_of(page))
    (address,) = set(re.findall(r'/datapoints/[^"]+\.json', page))
    (name,) = datapoint
    assert reader.get(address).json()[name] == datapoint[name]


def test_json_with_a_large_value_is_shown_with_its_size(reader: Any, unique: str) -> None:
    page = page_of(reader, unique, {"metadata": {"first": 1, "context": [LONG], "last": 2}})
    assert re.search(
        r'metadata 1\.[34] MB { "first" : 1 , "context" : \[ 1 item "Übung \\"macht', text_of(page)
    )


def test_a_large_conversation_says_nothing_twice(reader: Any, unique: str) -> None:
    """Equal texts are recognised without reading them again, and so are texts that differ at the end."""
    messages = [{"role": "user", "content": LONG}, {"role": "user", "content": "Really?"}]
    datapoints = [{"messages": list(messages), "output": LONG}]
    messages += [{"role": "assistant", "content": LONG}, {"role": "user", "content": "Prove it."}]
    datapoints.append({"messages": list(messages), "output": "Because."})
    messages[2] = {"role": "assistant", "content": f"{LONG[:-1]}!"}
    datapoints.append({"messages": list(messages), "output": "Because."})
    first, second, third = turns_of(page_of(reader, unique, *datapoints))
    assert "user Really?" in first
    assert "3 earlier messages, as above" in second
    assert "user Prove it." in second
    assert "user Really?" not in second
    assert "2 earlier messages, as above" in third
    assert "user Prove it." in third


@pytest.mark.parametrize("view", ["conversation", "timeline"])
def test_of_very_many_messages_the_last_ones_are_shown(reader: Any, unique: str, view: str) -> None:
    messages = [{"role": "user", "content": f"Question {number}."} for number in range(1500)]
    page = page_of(reader, unique, {"messages": messages, "output": "No."}, view=view)
    text = text_of(page)
    assert "1,300 earlier messages are not shown. All of it, as JSON" in text
    assert "user Question 1300." in text
    assert "user Question 1499." in text
    assert "user Question 1299." not in text
    # What is copied is the message that stands beside the button.
    assert "[&#34;messages&#34;, 1499, &#34;content&#34;]" in page


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the system tells how much memory was used on Linux only")
def test_a_session_of_large_datapoints_comes_in_parts_and_takes_little_memory(
    spawn: Callable[..., Any], tmp_path: Path
) -> None:
    server = spawn(tmp_path)
    reader = Reader(url_of(server.base_url))
    log = {"project": "large", "session_reference_id": "large"}
    created = [reader.log(**log, inputs={"question": "x" * 9 * MEGABYTE}, output=str(n)) for n in range(5)]
    process = Path(f"/proc/{server.process.pid}")

    def memory() -> int:
        lines = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024

    (process / "clear_refs").write_text("5")
    before = memory()
    first = reader.read(f"/sessions/{created[0]['session_id']}")
    assert [number for number in range(5) if f'id="{created[number]["id"]}"' in first] == [0, 1, 2]
    (later,) = re.findall(r'rel="next" href="([^"]+)"', first)
    second = reader.read(html.unescape(later))
    assert [number for number in range(5) if f'id="{created[number]["id"]}"' in second] == [3, 4]
    assert "Later datapoints" not in second
    assert memory() - before < 40 * MEGABYTE
