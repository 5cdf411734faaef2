import html
import re
from typing import Any

import pytest
import requests

from hl_sessions.server.database.errors import DatabaseTimeoutError
from hl_sessions.server.page.show.sums import MOST_ROWS
from hl_sessions.server.page.views import activity
from tests.server.page.test_session_list import link_of, rows_of


def states_on(page: str) -> list[str]:
    """Return the successive states of the sums, of which a browser shows only the last."""
    return re.findall(r'<section class="sums".*?</section>', page, re.DOTALL)


def text_of(part: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", part)).split()).replace("\N{EN DASH}", "-")


def facts_on(page: str) -> dict[str, str]:
    """Return the totals of all sessions."""
    facts = re.findall(r"<div><dt>(.*?)</dt><dd[^>]*>(.*?)</dd></div>", states_on(page)[-1], re.DOTALL)
    return {name: text_of(value) for name, value in facts}


def rows_by(kind: str, page: str) -> dict[str, list[str]]:
    """Return the rows of a table by their names."""
    table = states_on(page)[-1].partition(f"<caption>By {kind}</caption>")[2].partition("</table>")[0]
    return {
        text_of(name): [text_of(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", cells, re.DOTALL)]
        for name, cells in re.findall(r'<tr>\s*<th scope="row"[^>]*>(.*?)</th>(.*?)</tr>', table, re.DOTALL)
    }


def log_two_sessions(reader: Any, unique: str) -> Any:
    """Log three datapoints in two sessions, and return the answer of the API."""
    config = {"type": "model", "model": "large-1"}
    rated = {"type": "rating", "value": "good", "user": "customer"}
    return reader.log(
        {
            "project": f"{unique}-a",
            "session_reference_id": f"{unique}-1",
            "source": "answer",
            "config": config,
            "inputs": {"question": f"Why {unique}?"},
            "duration": 2.0,
            "prompt_tokens": 1000,
            "output_tokens": 100,
            "prompt_cost": 0.25,
            "output_cost": 0.5,
            "metadata": {"time_to_first_output": 0.5},
            "feedback": rated,
        },
        {
            "project": f"{unique}-a",
            "session_reference_id": f"{unique}-1",
            "source": "answer",
            "config": config,
            "inputs": {"question": f"Why {unique}?"},
            "error": "Timed out",
            "duration": 8.0,
            "prompt_tokens": 500,
            "metadata": {"time_to_first_output": "late"},
            "feedback": [rated, {**rated, "value": "bad"}, {**rated, "type": "mood"}],
        },
        {
            "project": f"{unique}-b",
            "session_reference_id": f"{unique}-2",
            "inputs": {"question": f"When {unique}?"},
            "duration": 4.0,
        },
    )


def test_the_sessions_of_a_filter_are_summed_up(reader: Any, unique: str) -> None:
    """All of their datapoints count, and no others."""
    log_two_sessions(reader, unique)
    reader.log(project=f"{unique}-a", session_reference_id=f"{unique}-3", inputs={"question": "Else"})
    page = reader.read(f"/activity?q={unique}%3F")
    assert facts_on(page) == {
        "Sessions": "2",
        "Datapoints": "3",
        "Errors": "1",
        "Tokens": "1,500 in, 100 out",
        "Cost": "$0.7500",
        "Ratings": "67 % good, 33 % bad of 3",
        "Duration": "4.0 s median, 8.0 s 95th percentile",
        "Time to first output": "500 ms median, 500 ms 95th percentile",
    }
    assert rows_by("project", page) == {
        f"{unique}-a": [
            *("1", "2", "1", "1,500", "100", "$0.7500", "67 %", "33 %", "2.0 s", "8.0 s", "500 ms", "500 ms")
        ],
        f"{unique}-b": ["1", "1", "0", "0", "0", "-", "-", "-", "4.0 s", "4.0 s", "-", "-"],
    }
    assert {name: row[:3] for name, row in rows_by("model", page).items()} == {
        "large-1": ["1", "2", "1"],
        "none": ["1", "1", "0"],
    }
    assert list(rows_by("source", page)) == ["answer", "none"]
    assert "<b>2</b> began" in page
    assert "<b>3</b> logged" in page


def test_the_list_and_its_sums_lead_to_each_other(reader: Any, unique: str) -> None:
    """With the same filter."""
    created = log_two_sessions(reader, unique)
    project_id = created[0]["project_id"]
    query = f"q={unique}&project={project_id}&errors=1"
    address = re.search(r'href="([^"]+)">Sum up<', reader.read(f"/?{query}"))
    assert address
    sums = reader.read(html.unescape(address[1]))
    assert facts_on(sums)["Sessions"] == "1"
    back = re.search(r'href="([^"]+)">Show them as a list<', sums)
    assert back
    assert html.unescape(back[1]) == f"/?{query}"


@pytest.mark.parametrize("window", ["all", "1h"])
def test_the_row_of_a_name_leads_to_its_sessions(reader: Any, unique: str, window: str) -> None:
    """Those of the same filter and time. A long name is cut."""
    log_two_sessions(reader, unique)
    shared = {"project": unique, "session_reference_id": unique, "inputs": {"question": f"{unique}?"}}
    long = reader.log(
        {**shared, "source": "tone=a b", "config": {"model": "m" * 100_000}},
        {**shared, "source": "s" * 100_000},
    )
    page = reader.read(f"/activity?q={unique}%3F&window={window}")
    assert len(page) < 60_000
    sums = states_on(page)[-1]
    for name in ("large-1", "answer", "m" * 200, "tone=a b", "s" * 200):
        address = link_of(sums, name)
        assert ("began" in address) is (window == "1h")
        (row,) = rows_of(reader.read(address))
        assert (row["id"] == long[0]["session_id"]) is (name not in {"large-1", "answer"})
    assert len(rows_of(reader.read(link_of(page, "Show them as a list")))) == 3


def test_a_name_that_no_filter_has_room_for_leads_nowhere(reader: Any, unique: str) -> None:
    """A filter has up to 20 terms."""
    log_two_sessions(reader, unique)
    sums = states_on(reader.read(f"/activity?q={'-x ' * 19}{unique}%3F"))[-1]
    assert ">large-1<" in sums
    assert ">large-1</a>" not in sums


def test_sessions_of_a_window_are_summed_up_below_its_charts(reader: Any, unique: str) -> None:
    """A filter of the list applies to them, too."""
    project_id = log_two_sessions(reader, unique)[0]["project_id"]
    page = reader.read(f"/activity?window=1h&project={project_id}")
    assert facts_on(page)["Sessions"] == "1"
    assert "<figure" not in states_on(page)[-1]
    page = reader.read(f"/activity?window=1h&q={unique}")
    assert facts_on(page)["Sessions"] == "2"
    assert "<figure" in states_on(page)[-1]
    assert re.search(r'<input type="hidden" name="q" value="' + unique, page)


def test_without_sessions_the_sums_are_nothing(reader: Any, unique: str) -> None:
    """There is no chart either."""
    page = reader.read(f"/activity?q={unique}")
    assert facts_on(page) == {"Sessions": "0", "Datapoints": "0", "Errors": "0", "Tokens": "0 in, 0 out"}
    assert "<figure" not in page


def test_a_session_without_datapoints_is_one_too(reader: Any, unique: str) -> None:
    """It has no project."""
    answer = requests.post(f"{reader.url}/v4/sessions", json={"reference_id": unique}, timeout=30)
    assert answer.ok
    page = reader.read(f"/activity?q={unique}")
    assert facts_on(page)["Sessions"] == "1"
    assert rows_by("project", page) == {}


def test_the_names_of_the_most_datapoints_are_shown(reader: Any, unique: str) -> None:
    """The number of the others is shown, too."""
    sources = [f"source {number}" for number in range(MOST_ROWS + 2)]
    shared = {"project": unique, "session_reference_id": unique}
    reader.log(*({**shared, "source": source} for source in [*sources, *sources[2:]]))
    page = reader.read(f"/activity?q={unique}")
    assert set(rows_by("source", page)) == set(sources[2:])
    assert "2 more with fewer datapoints." in page


def test_sums_are_sent_as_they_come(reader: Any, unique: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each state includes the one before, and the last one is complete."""
    for name, value in (("_FIRST_PART", 1), ("_PART", 1), ("_PAUSE", 0), ("MOST_MEASURED", 1)):
        monkeypatch.setattr(activity, name, value)
    log_two_sessions(reader, unique)
    page = reader.read(f"/activity?q={unique}%3F")
    first, last = states_on(page)
    assert "1 of 2 sessions, the newest first" in text_of(first)
    assert "<progress" not in last
    assert facts_on(page)["Datapoints"] == "3"
    assert facts_on(page)["Duration"] == "4.0 s median, 4.0 s 95th percentile"
    assert "computed from a sample: the 1 datapoints of the newest sessions" in text_of(last)


def test_sums_that_break_off_say_how_far_they_are(
    sqlite_reader: Any, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page is complete, except for the sums that the database did not answer."""

    def sum_up(*_arguments: Any, **_named: Any) -> None:
        raise DatabaseTimeoutError

    monkeypatch.setattr(activity, "sum_up", sum_up)
    log_two_sessions(sqlite_reader, unique)
    page = sqlite_reader.read(f"/activity?q={unique}%3F")
    assert "0 of 2 sessions are summed up: the database took too long. Load the page again" in text_of(page)
    assert page.rstrip().endswith("</html>")


def test_nobody_sums_up_the_sessions_of_others(locked_server: Any, unique: str) -> None:
    """Each organisation has sums of its own."""
    (one, _), (other, _) = (locked_server.reader(f"{unique}-{name}") for name in ("one", "other"))
    log_two_sessions(one, unique)
    assert facts_on(one.read("/activity?window=all"))["Datapoints"] == "3"
    assert facts_on(other.read("/activity?window=all"))["Datapoints"] == "0"
    assert unique not in other.read("/activity?window=all").replace(f"{unique}-other", "")
