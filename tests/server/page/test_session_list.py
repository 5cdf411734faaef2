import html
import re
from datetime import datetime, timedelta, timezone
from http import HTTPStatus
from typing import Any

import pytest

IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/image.png"}}


def rows_of(page: str) -> list[dict[str, str]]:
    """Return the texts in the rows of the table, by the class of the cell, and the ID of the session."""
    rows = []
    for session_id, cells in re.findall(r'<tr data-id="(\w+[\w-]*)"[^>]*>(.*?)</tr>', page, re.DOTALL):
        texts = {
            classes.split()[-1]: html.unescape(re.sub(r"<[^>]+>", " ", content)).strip()
            for classes, content in re.findall(r'class="([^"]+)">(.*?)</t[dh]>', cells, re.DOTALL)
        }
        rows.append(texts | {"id": session_id})
    return rows


def link_of(page: str, text: str) -> str:
    match = re.search(rf'href="([^"]+)"[^>]*>{re.escape(text)}<', page)
    assert match, f"no link {text!r}"
    return html.unescape(match[1])


def inputs_on(page: str) -> list[str]:
    return [row["input"] for row in rows_of(page)]


def test_a_row_tells_what_happened_in_a_session(reader: Any, unique: str) -> None:
    """First input, last output, projects, datapoints, duration, time, errors."""
    begin = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
    shared = {"session_reference_id": unique, "created_at": begin.isoformat()}
    created = reader.log(
        {"project": f"{unique}-a", "inputs": {"question": "Why?\nReally."}, "duration": 4.5, **shared},
        {"project": f"{unique}-b", "output": "Not this", "error": "Timed out", "duration": 1.0, **shared},
    )
    later = (begin + timedelta(seconds=2)).isoformat()
    reader.log(
        project=f"{unique}-a", output="Because", duration=0.5, session_reference_id=unique, created_at=later
    )
    page = reader.read(f"/?q={unique}")
    (row,) = rows_of(page)
    assert row["id"] == created[0]["session_id"]
    assert row["input"] == "Why? Really."
    assert row["output"] == "Because"
    assert row["projects"].split() == [f"{unique}-a", f"{unique}-b"]
    assert row["datapoints"].split() == ["3", "datapoints"]
    assert row["duration"] == "4.5 s"
    assert row["when"] == "just now"
    assert row["errors"].split() == ["1", "error"]
    assert link_of(page, "Why? Really.") == f"/sessions/{row['id']}?q={unique}"


def test_the_last_output_is_that_of_an_answer_and_not_of_its_steps(reader: Any, unique: str) -> None:
    """They begin after it, and are nested under it. A step after it without an output does not hide it."""
    answer = {"reference_id": f"{unique}-answer", "output": "Because", "created_at": "2026-03-01T12:00:00"}
    step = {
        "parent_reference_id": f"{unique}-answer",
        "output": "A page",
        "created_at": "2026-03-01T12:00:01",
    }
    usage = {"created_at": "2026-03-01T12:00:02", "output": "", "error": "Not counted"}
    session = {"project": unique, "session_reference_id": unique}
    reader.log(*(session | log for log in (answer, step, usage)))
    (row,) = rows_of(reader.read(f"/?q={unique}"))
    assert row["output"] == "Because"


def test_the_error_of_a_session_that_has_no_output_is_shown_in_its_place(reader: Any, unique: str) -> None:
    """If its last step has failed."""
    for error in ("Out of\nmoney", None):
        session = {"project": unique, "session_reference_id": f"{unique}-{error}"}
        reader.log({"output": None, "error": "Again", **session}, {"error": error, **session})
    rows = rows_of(reader.read(f"/?q=project:{unique}"))
    assert [row["output"] for row in rows] == ["", "Out of money"]


@pytest.mark.parametrize(
    ("inputs", "messages", "shown"),
    [
        pytest.param({"a": "one", "b": {"c": 2}}, None, 'a: one · b: {"c": 2}', id="several inputs"),
        pytest.param({"a": [1, "ü"]}, None, '[1, "ü"]', id="one that is no text"),
        pytest.param({"a": 'x\n"' * 5000}, None, 'x "x "x "', id="a long one"),
        pytest.param({"a": list(range(5000))}, None, "0,1,2,3", id="a long one that is no text"),
        pytest.param(
            None,
            [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}],
            "Hi",
            id="messages",
        ),
        pytest.param(
            None,
            [{"role": "user", "content": "Hi " * 2000}],
            '[{"role":"user","content":"Hi',
            id="long messages",
        ),
        pytest.param(
            None,
            [
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "Look"}, IMAGE, {"type": "text", "text": "here"}],
                }
            ],
            "Look here",
            id="a message of several parts",
        ),
        pytest.param(
            None, [{"role": "user", "content": [IMAGE]}], '"image_url"', id="a message without a text"
        ),
        pytest.param(None, None, "no input", id="none"),
    ],
)
def test_inputs_are_told_in_a_line(
    reader: Any, unique: str, inputs: object, messages: object, shown: str
) -> None:
    """For any logged inputs."""
    reader.log(project="lines", session_reference_id=unique, inputs=inputs, messages=messages)
    (row,) = rows_of(reader.read(f"/?q={unique}"))
    assert shown in row["input"]
    assert len(row["input"]) < 300


def test_parts_of_the_list_stay_when_sessions_arrive(reader: Any, unique: str) -> None:
    """The link to a part shows the same sessions later, and the part leads on in both directions."""
    project = f"{unique}-paged"

    def log(numbers: range) -> str:
        created = reader.log(
            *(
                {
                    "project": project,
                    "session_reference_id": f"{unique}-{number}",
                    "inputs": {"n": str(number)},
                }
                for number in numbers
            )
        )
        return str(created[0]["project_id"])

    project_id = log(range(120))
    first = reader.read(f"/?project={project_id}")
    assert inputs_on(first) == [str(number) for number in range(119, 69, -1)]
    address = link_of(first, "Older →")
    log(range(120, 180))
    second = reader.read(address)
    assert inputs_on(second) == [str(number) for number in range(69, 19, -1)]
    last = reader.read(link_of(second, "Older →"))
    assert inputs_on(last) == [str(number) for number in range(19, -1, -1)]
    assert "Older →" not in last
    assert inputs_on(reader.read(link_of(last, "← Newer"))) == inputs_on(second)
    # The part before the first full one is the start of the list.
    newest = [str(number) for number in range(179, 129, -1)]
    third = reader.read(link_of(second, "← Newer"))
    assert inputs_on(third) == [str(number) for number in range(119, 69, -1)]
    assert inputs_on(reader.read(link_of(third, "← Newer"))) == [
        str(number) for number in range(169, 119, -1)
    ]
    assert inputs_on(reader.read(link_of(third, "Newest"))) == newest


def test_a_full_page_before_the_newest_ones_is_the_newest_page(reader: Any, unique: str) -> None:
    """If fewer sessions are newer than a part holds, the part is filled up."""
    created = reader.log(
        *(
            {"project": unique, "session_reference_id": f"{unique}-{n}", "inputs": {"n": str(n)}}
            for n in range(9)
        )
    )
    answer = reader.get(f"/?project={created[0]['project_id']}&after={created[5]['session_id']}")
    assert answer.url == f"{reader.url}/?project={created[0]['project_id']}"
    assert len(rows_of(answer.text)) == 9


def test_filters_leave_what_was_asked_for(reader: Any, unique: str) -> None:
    """By project, errors, days, and several at once. The form shows the active filters."""
    failed = reader.log(project=unique, session_reference_id=f"{unique}-1", inputs={"n": "1"}, error="Broken")
    reader.log(project=unique, session_reference_id=f"{unique}-2", inputs={"n": "2"}, output="fine")
    reader.log(project="elsewhere", session_reference_id=f"{unique}-3", inputs={"n": "3"}, error="Broken")
    in_project = f"/?project={failed['project_id']}"
    today = datetime.now(timezone.utc).date()
    yesterday = today - timedelta(days=1)
    assert inputs_on(reader.read(in_project)) == ["2", "1"]
    page = reader.read(f"{in_project}&errors=1")
    assert inputs_on(page) == ["1"]
    assert re.search(r'id="errors"[^>]* checked', page)
    assert re.search(rf'value="{failed["project_id"]}" selected', page)
    # Midnight may pass meanwhile.
    assert inputs_on(reader.read(f"{in_project}&from={yesterday}&until={today + timedelta(days=1)}")) == [
        "2",
        "1",
    ]
    page = reader.read(f"{in_project}&until={yesterday - timedelta(days=1)}")
    assert inputs_on(page) == []
    assert "No session matches" in page
    assert inputs_on(reader.read(f"{in_project}&from={today + timedelta(days=2)}")) == []


@pytest.mark.parametrize(
    "field",
    [
        {"inputs": {"question": "Größe 100%_?"}},
        {"messages": [{"role": "user", "content": 'say "Größe 100%_?"'}]},
        {"output": "the Größe 100%_? of it"},
        {"error": "No Größe 100%_? here"},
        {"metadata": {"Größe 100%_?": 1}},
    ],
    ids=lambda field: next(iter(field)),
)
def test_search_finds_text_in_the_datapoints(reader: Any, unique: str, field: dict[str, Any]) -> None:
    """Regardless of case, with letters beyond ASCII, and without wildcards."""
    created = reader.log(project=unique, session_reference_id=unique, **field)
    reader.log(project=unique, session_reference_id=f"{unique}-other", inputs={"question": "Größe 100ab"})
    found = rows_of(reader.get("/", params={"project": created["project_id"], "q": "größe 100%_?"}).text)
    assert [row["id"] for row in found] == [created["session_id"]]


def test_search_finds_what_an_id_or_reference_names(reader: Any, unique: str) -> None:
    """Those of a session, or of a datapoint in it."""
    created = reader.log(
        project=unique, session_reference_id=f"{unique}-session", reference_id=f"{unique}-datapoint"
    )
    for text in (created["session_id"], created["id"], f"{unique}-session", f"{unique}-datapoint"):
        assert [row["id"] for row in rows_of(reader.read(f"/?q={text}"))] == [created["session_id"]]


@pytest.mark.slow
def test_a_search_finds_sessions_however_old(reader: Any, unique: str) -> None:
    """All of them, newest first, and no others."""
    created = reader.log(
        *(
            {
                "project": unique,
                "session_reference_id": f"{unique}-{number}",
                "inputs": {"text": f"needle {number}" if number in {1, 11} else f"hay {number}"},
            }
            for number in range(12)
        )
    )
    address = f"/?q=needle&project={created[0]['project_id']}"
    assert inputs_on(reader.read(address)) == ["needle 11", "needle 1"]
    assert inputs_on(reader.read(f"{address}&before={created[11]['session_id']}")) == ["needle 1"]
    assert "No session matches" in reader.read(address.replace("needle", "nothing"))


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("from=yesterday", "From has to be a day such as 2026-11-22."),
        ("until=2026-02-30", "Until has to be a day such as 2026-11-22."),
        ("until=10000-01-01", "Until has to be a day such as 2026-11-22."),
        ("project=support", "Project has to be the ID of a project, such as pr_...."),
        ("before=7", "before has to be the ID of a session, such as sesh_...."),
        ("before=sesh_a&after=sesh_b", "before and after exclude each other: leave one of them out."),
        ("q=" + "x" * 1001, "Search may be up to 1,000 characters in one line, without control characters."),
        ("q=a%00b", "Search may be up to 1,000 characters in one line, without control characters."),
        ("q=cost>", "Search cannot be understood at character 6: cost> has to be followed by a number"),
    ],
)
def test_an_address_that_cannot_be_understood_says_why(reader: Any, query: str, problem: str) -> None:
    """It names the field of the form, or a parameter that has none, and its allowed values."""
    answer = reader.get(f"/?{query}")
    assert answer.status_code == 422
    assert problem in html.unescape(answer.text)
    assert reader.get(f"/sessions/rows?{query}").status_code == 422


def test_a_part_that_began_at_a_deleted_session_is_gone(reader: Any) -> None:
    """The page says so, and links back to the list."""
    answer = reader.get("/?before=sesh_000000000000000000000000")
    assert answer.status_code == 404
    assert "This part of the list is gone" in answer.text
    assert link_of(answer.text, "To the sessions") == "/"
    assert reader.get("/sessions/rows?before=sesh_000000000000000000000000").status_code == 404


def test_projects_are_listed_with_what_is_in_them(reader: Any, unique: str) -> None:
    """Their datapoints are counted, and their names lead to their sessions."""
    created = reader.log({"project": f"{unique} <b>"}, {"project": f"{unique} <b>"})
    page = reader.read("/projects")
    assert link_of(page, f"{unique} &lt;b&gt;") == f"/?project={created[0]['project_id']}"
    row = page[page.index(unique) :].partition("</tr>")[0]
    assert re.search(r'class="number">2<', row)
    assert "just now" in row


def test_datapoints_outside_of_sessions_are_told_where_their_project_has_no_others(
    reader: Any, unique: str
) -> None:
    """The list says why it is empty, and how the datapoints can be read. Other filters find nothing there."""
    [created] = reader.log({"project": unique})
    address = f"/?project={created['project_id']}"
    assert "1 datapoint has no session." in reader.read(address)
    assert "no session." not in reader.read(f"{address}&q=nothing")
    reader.log({"project": unique}, {"project": unique, "session_reference_id": unique})
    assert "no session." not in reader.read(address)


def test_what_is_not_there_is_said_on_a_page_or_as_json(reader: Any) -> None:
    """As a page for readers, and as JSON below the path of the API."""
    for path in (
        "/nothing",
        "/sessions/sesh_000000000000000000000000",
        "/static/nothing",
        "/datapoints/x.json",
        "/datapoints/data_%00.json",
        "/sessions/%00",
        "/sessions/sesh_%00/version",
    ):
        answer = reader.get(path)
        assert answer.status_code == 404
        assert "<h1>Not found</h1>" in answer.text
    answer = reader.get("/v4/nothing")
    assert answer.status_code == 404
    assert "v4 of the API" in answer.json()["detail"]


@pytest.mark.parametrize(
    "filtered_by", ["project={project_id}", "q={unique}", "errors=1&project={project_id}"]
)
def test_the_sessions_beside_one_are_those_of_the_filtered_list(
    reader: Any, unique: str, filtered_by: str
) -> None:
    """The filter is kept up to the last session, and back to the list."""
    created = []
    for number in range(4):
        # The second one is in another project, and has no error.
        inside = {"project": unique, "error": "Oh"} if number != 1 else {"project": "other"}
        inputs = {"q": f"{unique if number != 1 else 'x'} {number}"}
        created.append(reader.log(**inside, session_reference_id=f"{unique}-{number}", inputs=inputs))
    first, other, third, last = (one["session_id"] for one in created)
    query = filtered_by.format(project_id=created[0]["project_id"], unique=unique)
    page = reader.read(link_of(reader.read(f"/?{query}"), f"{unique} 2"))
    for label, session_id in (("Older →", first), ("← Newer", third), ("← Newer", last)):
        answer = reader.get(link_of(page, label))
        path, _, carried = answer.url.removeprefix(reader.url).partition("?")
        assert path == f"/sessions/{session_id}"
        assert sorted(carried.split("&")) == sorted(query.split("&"))
        page = answer.text
    path = page[page.index('aria-label="Path"') :]
    assert [row["id"] for row in rows_of(reader.read(link_of(path, "Sessions")))] == [last, third, first]
    if query.startswith("project"):
        assert not re.search("href=[^>]*>← Newer<", page)
    else:
        answer = reader.get(link_of(page, "← Newer"))
        assert answer.status_code == HTTPStatus.NOT_FOUND
        assert "No newer session" in answer.text
    unfiltered = reader.read(f"/sessions/{first}?view=timeline")
    assert link_of(unfiltered, "← Newer") == f"/sessions/{other}?view=timeline"
