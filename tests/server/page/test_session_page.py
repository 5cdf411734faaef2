import html
import re
import sqlite3
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import requests

from hl_sessions.server.page.queries.session_detail import SIZE
from tests.servers import served
from tests.waiting import PATIENCE

BEGIN = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


def text_of(page: str) -> str:
    """Return the text of a page, as one line."""
    main = page[page.index("<main") :]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", main)).split())


def turns_of(page: str) -> list[str]:
    turns = re.findall(r'<li class="turn.*?(?=<li class="turn|</ol>\s*</main>|\Z)', page, re.DOTALL)
    return [text_of(f"<main>{turn}") for turn in turns]


def test_a_conversation_says_nothing_twice(reader: Any, unique: str) -> None:
    """If messages grow from call to call, each one is shown where it is new."""
    session = {"project": "chat", "session_reference_id": unique}
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who are you?"}]
    created = reader.log(messages=messages, output="A **bot**.", **session)
    messages += [{"role": "assistant", "content": "A **bot**."}, {"role": "user", "content": "Prove it."}]
    reader.log(messages=messages, output="Beep.", **session)
    first, second = turns_of(reader.read(f"/sessions/{created['session_id']}"))
    assert "system Be brief." in first
    assert "user Who are you?" in first
    assert "output A bot ." in first
    assert "3 earlier messages, as above" in second
    assert "user Prove it." in second
    assert "user Who are you?" not in second


@pytest.mark.parametrize("text", ['{"use": "*args and **kwargs*"}', '\n["my *text*", {"n": 1}]'])
def test_a_text_that_is_json_is_shown_as_json(reader: Any, unique: str, text: str) -> None:
    """A logged list is stored as a text, and Markdown would remove its stars."""
    created = reader.log(project=unique, session_reference_id=unique, output=text)
    for view in ("conversation", "timeline"):
        page = reader.read(f"/sessions/{created['session_id']}?view={view}")
        assert 'class="value is-json"' in page
        assert "<em>" not in page


def test_every_value_is_labelled_once(reader: Any, unique: str) -> None:
    """A number or a constant is shown as a text is. So is a judgment, beside what it is about."""
    created = reader.log(
        project=unique,
        session_reference_id=unique,
        inputs={"answer": 1227},
        output='{"place": "Oslo"}',
        judgment=False,
    )
    for view in ("conversation", "timeline"):
        page = reader.read(f"/sessions/{created['session_id']}?view={view}")
        shown = text_of(page.partition("All that was logged")[0])
        assert " answer 1227 Copy output output as JSON 21 B {" in shown
        assert '<span class="visually-hidden">output as </span>JSON' in page
        assert " judgment false Copy" in shown


@pytest.mark.parametrize("text", ["[a *link*](/x)", "{*", "[" * 5000 + "]" * 5000])
def test_a_text_that_is_no_json_is_shown_as_a_text(reader: Any, unique: str, text: str) -> None:
    """So is one that is nested too deep to be read."""
    created = reader.log(project=unique, session_reference_id=unique, output=text)
    page = reader.read(f"/sessions/{created['session_id']}")
    assert "is-json" not in page[: page.index("All that was logged")]


def test_messages_of_any_kind_are_shown_as_they_were_logged(reader: Any, unique: str) -> None:
    """Roles, parts and calls that no published schema has break neither the views nor the list."""
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": ["Hear this.", {"type": "input_audio", "input_audio": {"data": "wave"}}]},
        {"type": "reasoning", "summary": []},
        {"role": ["critic"], "content": 5},
        {"role": "tool", "content": {"answer": 4}},
        {"content": [{"type": "input_text", "text": "Well?"}, {}, None, 7]},
        {"role": "user", "content": {"text": "Nothing"}},
    ]
    log = {"project": unique, "session_reference_id": unique, "messages": messages}
    created = reader.log({**log, "output_message": {"role": "king", "tool_calls": 5}})
    path = f"/sessions/{created[0]['session_id']}"
    for text in (text_of(reader.read(path)), text_of(reader.read(f"{path}?view=timeline"))):
        for part in ("developer Be brief.", "Hear this.", "input_audio", "reasoning", "critic", "Well?"):
            assert part in text
    assert "Nothing" in text_of(reader.read(f"/?q={unique}"))


def test_the_same_inputs_of_steps_are_shown_once(reader: Any, unique: str) -> None:
    """The steps of one request often get the same inputs."""
    session = {"project": "chat", "session_reference_id": unique, "inputs": {"question": "Why?", "k": 3}}
    created = reader.log({"source": "look", **session}, {"source": "tell", "output": "So.", **session})
    first, second = turns_of(reader.read(f"/sessions/{created[0]['session_id']}"))
    assert "question Why?" in first
    assert "k 3" in first
    assert "no output" in first
    assert "same input as above" in second
    assert "output So." in second


def test_a_session_sums_up_what_was_logged(reader: Any, unique: str) -> None:
    """Duration, datapoints, errors, tokens, cost, projects and reference are shown above it."""
    session = {"session_reference_id": unique, "created_at": BEGIN.isoformat()}
    numbers = {"prompt_tokens": 1000, "output_tokens": 34, "prompt_cost": 0.25, "output_cost": 0.0125}
    created = reader.log(
        {"project": f"{unique}-a", "duration": 75, "error": "Gone", **numbers, **session},
        {"project": f"{unique}-b", "prompt_tokens": 200, **session},
    )
    text = text_of(reader.read(f"/sessions/{created[0]['session_id']}"))
    assert "Duration 1 min 15 s Datapoints 2 Errors 1 Tokens 1,200 in, 34 out Cost $0.2625" in text
    assert f"Projects {unique}-a {unique}-b Reference {unique}" in text


FIRST, LAST = "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"
SHOWN = {FIRST: "1 Jan 1, 00:00:00 UTC", LAST: "31 Dec 9999, 23:59:59 UTC"}


@pytest.mark.parametrize("duration", [None, 5, 1e300, -1e300])
@pytest.mark.parametrize("moments", [[FIRST], [LAST], [FIRST, LAST]], ids=str)
def test_the_ends_of_the_calendar_break_no_page(
    reader: Any, unique: str, moments: list[str], duration: float | None
) -> None:
    """Datapoints at the first or the last moment are listed, shown and counted."""
    log = {"project": unique, "session_reference_id": unique, "error": "e", "duration": duration}
    created = reader.log(*({**log, "created_at": moment} for moment in moments))
    session_id, project_id = created[0]["session_id"], created[0]["project_id"]
    session = f"/sessions/{session_id}"
    for path in (session, f"{session}?view=timeline"):
        page = reader.read(path)
        for moment in moments:
            assert SHOWN[moment] in text_of(page)
    assert unique in reader.read(f"{session}?view=timeline&after={created[-1]['id']}")
    for query in (f"?q={unique}", f"?project={project_id}", "?from=0001-01-01&until=9999-12-31"):
        assert session_id in reader.read(f"/{query}")
    for query in ("?from=9999-12-31", "?until=0001-01-01"):
        assert session_id not in reader.read(f"/{query}")
    assert unique in reader.read("/projects")
    assert reader.read(f"/activity?project={project_id}")
    found = {"project_id": project_id, "start_date": FIRST[:10], "end_date": LAST[:10]}
    page = reader.get("/v4/logs", params=found).json()
    assert sorted(log["created_at"] for log in page["records"]) == moments


def test_the_largest_numbers_have_a_sum(reader: Any, unique: str) -> None:
    """Numbers that the protocol allows can be added up, beyond an integer of the database."""
    largest = {
        "prompt_tokens": 2**63 - 1,
        "output_tokens": 2**63 - 1,
        "prompt_cost": 1e15,
        "output_cost": 1e15,
    }
    log = {"project": "large", "session_reference_id": unique, **largest}
    created = reader.log(log, log)
    text = text_of(reader.read(f"/sessions/{created[0]['session_id']}"))
    assert f"Tokens {2**64:,} in, {2**64:,} out Cost ${4 * 10**15:,}.00" in text


def test_a_tree_shows_what_is_nested_in_what_and_when(reader: Any, unique: str) -> None:
    """A child follows its parent, one level deeper, with a bar at its place in time."""
    session = {"project": "agent", "session_reference_id": unique}

    def log(name: str, seconds: float, duration: float | None, **fields: Any) -> Any:
        begin = (BEGIN + timedelta(seconds=seconds)).isoformat()
        return reader.log(source=name, created_at=begin, duration=duration, **session, **fields)

    root = log("root", 0, 10)
    child = log("child", 2.5, 5, parent_id=root["id"])
    log("second root", 8, None, error="Late")
    log("grandchild", 3, 1, parent_id=child["id"], output_tokens=1234, output_cost=0.5)
    log("second child", 9, 1, parent_id=root["id"])
    page = reader.read(f"/sessions/{root['session_id']}?view=timeline")
    branches = re.findall(
        r'depth-(\d).*?class="name">([^<]+)<.*?<rect x="([\d.]+)".*?width="([\d.]+)"', page, re.DOTALL
    )
    assert branches == [
        ("0", "root", "0.00", "1000.00"),
        ("1", "child", "250.00", "500.00"),
        ("2", "grandchild", "300.00", "100.00"),
        ("1", "second child", "900.00", "100.00"),
        ("0", "second root", "800.00", "4.00"),
    ]
    assert re.search(r'class="is-failed">(?:(?!<li).)*second root', page, re.DOTALL)
    text = text_of(page)
    assert "0 2.5 s 5.0 s 7.5 s 10 s" in text
    assert "1.0 s 1,234 tokens $0.5000" in text


@pytest.mark.parametrize(
    ("seconds", "labels"),
    [
        (0.00006, ["0", "<0.1 ms", "0.1 ms"]),
        (0.0003, ["0", "0.1 ms", "0.3 ms"]),
        (0.00002, ["0", "<0.1 ms"]),
        (0, ["0"]),
        (1e12, ["0", "over 30 years"]),
    ],
)
def test_no_two_labels_of_the_time_line_say_the_same(
    sqlite_reader: Any, unique: str, seconds: float, labels: list[str]
) -> None:
    """The axis of a session that is too short or too long for them has fewer."""
    created = sqlite_reader.log(project=unique, session_reference_id=unique, duration=seconds)
    page = sqlite_reader.read(f"/sessions/{created['session_id']}?view=timeline")
    scale = page.partition('<span class="scale">')[2].partition("\n")[0]
    assert [html.unescape(label) for label in re.findall(r"<span>([^<]*)</span>", scale)] == labels


def test_a_turn_leads_to_what_is_nested_in_it(reader: Any, unique: str) -> None:
    """At any depth. The conversation itself has only the outermost datapoints."""
    session = {"project": "agent", "session_reference_id": unique}
    root = reader.log(source="root", output="Done", **session)
    child = reader.log(source="child", parent_id=root["id"], **session)
    reader.log(source="grandchild", parent_id=child["id"], error="Oh", **session)
    page = reader.read(f"/sessions/{root['session_id']}")
    (turn,) = turns_of(page)
    assert "2 nested datapoints, 1 with an error" in turn
    assert f'href="/sessions/{root["session_id"]}?view=timeline#{root["id"]}"' in page


def test_a_circle_of_parents_has_a_page(tmp_path: Path) -> None:
    """No call makes one, but a change of the database by hand can. The server keeps running."""
    database = tmp_path / "circle.sqlite3"
    with served(database) as base_url:
        logs = [
            {
                "project": "p",
                "session_reference_id": "circle",
                "reference_id": name,
                "output": f"said by {name}",
            }
            for name in ("one", "two", "three")
        ]
        created = requests.post(f"{base_url}/logs", json=logs, timeout=PATIENCE).json()
        with closing(sqlite3.connect(database)) as connection, connection:
            for child, parent in ((0, 1), (1, 0), (2, 2)):
                change = "UPDATE logs SET parent_id = ? WHERE id = ?"
                connection.execute(change, (created[parent]["id"], created[child]["id"]))
        page = requests.get(
            f"{base_url.removesuffix('/v4')}/sessions/{created[0]['session_id']}", timeout=PATIENCE
        ).text
        assert len(turns_of(page)) == 2
        assert "said by three" in page


def test_a_long_session_comes_in_parts(reader: Any, unique: str) -> None:
    """A hundred datapoints at a time, in the order of time."""
    created = reader.log(
        *({"project": "long", "session_reference_id": unique, "output": f"number {n}."} for n in range(101))
    )
    page = reader.read(f"/sessions/{created[0]['session_id']}")
    assert len(turns_of(page)) == 100
    assert "Datapoints 101" in text_of(page)
    address = f"/sessions/{created[0]['session_id']}?after={created[99]['id']}"
    assert address in page
    (turn,) = turns_of(reader.read(address))
    assert "number 100." in turn
    for nowhere in ("data_000000000000000000000000", unique, "%00"):
        assert reader.get(f"/sessions/{created[0]['session_id']}?after={nowhere}").status_code == 404


def test_a_long_value_is_cut_and_the_whole_of_it_is_a_link_away(reader: Any, unique: str) -> None:
    """A page stays small, even if a logged value is large."""
    created = reader.log(project="long", session_reference_id=unique, output="word " * 50_000)
    page = reader.read(f"/sessions/{created['session_id']}")
    assert "Only the beginning of 250 kB." in text_of(page)
    assert len(page) < 100_000
    assert f'href="/datapoints/{created["id"]}.json"' in page
    assert reader.get(f"/datapoints/{created['id']}.json").json()["output"] == "word " * 50_000


@pytest.mark.parametrize("duration", [-5.0, 1e300, 0.0])
def test_any_number_is_a_duration(reader: Any, unique: str, duration: float) -> None:
    """The protocol allows any number, so the page must show it."""
    created = reader.log(project="odd", session_reference_id=unique, duration=duration, prompt_cost=-1e-9)
    for path in (f"/?q={unique}", *(f"/sessions/{created['session_id']}{v}" for v in ("", "?view=timeline"))):
        assert len(reader.read(path)) < 20_000


def test_a_session_without_datapoints_says_so(reader: Any) -> None:
    """It only has an ID."""
    session_id = requests.post(f"{reader.url}/v4/sessions", timeout=PATIENCE).json()["id"]
    for view in ("", "?view=timeline"):
        assert "No datapoints yet" in text_of(reader.read(f"/sessions/{session_id}{view}"))
    assert "no datapoints yet" in text_of(reader.read(f"/?q={session_id}"))


def test_what_callers_tell_of_a_session_is_shown(reader: Any, unique: str) -> None:
    """Its name is the title, and each member of the metadata has a place of its own."""
    told: dict[str, Any] = {
        "reference_id": unique,
        "name": "<Shoes>",
        "user": "alice",
        "metadata": {"customer": "acme", "n": [1]},
    }
    session_id = requests.post(f"{reader.url}/v4/sessions", json=told, timeout=PATIENCE).json()["id"]
    reader.log(project=unique, session_id=session_id, inputs={"question": "Why?"})
    end = {"ended_at": "2026-01-02T03:04:05Z"}
    requests.patch(f"{reader.url}/v4/sessions/{session_id}", json=end, timeout=PATIENCE).raise_for_status()
    page = reader.read(f"/sessions/{session_id}")
    assert '<h1 class="session-title">&lt;Shoes&gt;</h1>' in page
    text = text_of(page)
    for shown in ("User alice", "customer acme", "n [1]", "Ended"):
        assert shown in text


def test_the_sessions_of_a_conversation_are_a_chain(reader: Any) -> None:
    """Each links to the one before and the one after it. A deleted session is left out."""

    def create(previous_id: str) -> str:
        told = {"previous_id": previous_id}
        answer = requests.post(f"{reader.url}/v4/sessions", json=told, timeout=PATIENCE)
        return str(answer.json()["id"])

    first = create("sesh_deleted")
    second = create(first)
    third = create(second)

    def links(session_id: str) -> list[tuple[str, str]]:
        page = reader.read(f"/sessions/{session_id}")
        summary = page[page.index('<dl class="summary">') : page.index("</dl>")]
        return re.findall(r"<dt>([^<]+)</dt><dd><a [^>]*href=\"/sessions/(\w[\w-]+)\"", summary)

    following = "Next session of this conversation"
    assert links(first) == [(following, second)]
    assert links(second) == [("Previous session", first), (following, third)]
    assert links(third) == [("Previous session", second)]


def test_payloads_that_were_not_stored_are_told(reader: Any, unique: str) -> None:
    """``save: false`` keeps them out, and the page says so."""
    created = reader.log(project="secret", session_reference_id=unique, output="secret", save=False)
    (turn,) = turns_of(reader.read(f"/sessions/{created['session_id']}"))
    assert "payloads not stored, as the call asked" in turn


def test_a_datapoint_has_an_address(reader: Any, unique: str) -> None:
    """It leads to the part and the view of the session that show the datapoint."""
    session = {"project": unique, "session_reference_id": unique}
    created = reader.log(*({"output": f"output {n}", **session} for n in range(SIZE + 20)))
    first, late = created[3], created[SIZE + 10]
    nested = reader.log(parent_id=late["id"], output="nested", **session)
    path = f"{reader.url}/sessions/{first['session_id']}"
    assert reader.get(f"/datapoints/{first['id']}").url == f"{path}#{first['id']}"
    for datapoint, view in ((late, ""), (nested, "view=timeline&")):
        answer = reader.get(f"/datapoints/{datapoint['id']}")
        assert answer.url.startswith(f"{path}?{view}after=")
        assert f'id="{datapoint["id"]}"' in answer.text
        assert ("<details open>" in answer.text) is bool(view)
    alone = reader.log(project=unique, output="alone")
    assert reader.get(f"/datapoints/{alone['id']}").json()["output"] == "alone"
    assert reader.get("/datapoints/data_unknown").status_code == 404


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Origin": "http://127.0.0.1:9"}, id="another port of this machine"),
        pytest.param({"Origin": "null"}, id="a sandboxed frame"),
        pytest.param({"Origin": None}, id="no origin"),
        pytest.param({"Sec-Fetch-Site": "same-site"}, id="a page of the same site"),
    ],
)
def test_foreign_pages_give_no_ratings(reader: Any, unique: str, headers: dict[str, Any]) -> None:
    """Only the page itself may send changes."""
    created = reader.log(project="rated", session_reference_id=unique)
    answer = reader.post(
        f"/datapoints/{created['id']}/feedback", data={"type": "rating", "value": "good"}, headers=headers
    )
    assert answer.status_code == 403
    assert "feedback" not in requests.get(f"{reader.url}/v4/logs/{created['id']}", timeout=PATIENCE).json()
