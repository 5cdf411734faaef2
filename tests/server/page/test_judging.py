"""The queue of sessions without a rating, as a browser without scripts uses it."""

import html
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Dialog, Page, expect

from hl_sessions.server.run.serving import serving_in_background
from hl_sessions.server.settings import ServerSettings
from tests.server.page.conftest import Reader, url_of
from tests.servers import served
from tests.waiting import PATIENCE, wait_until


def question_on(page: str) -> str | None:
    """Return the first input of the session to be judged; ``None`` if there is none."""
    found = re.search(r'<h1 class="session-title">(.*?)</h1>', page)
    return None if found is None else html.unescape(found[1])


def left_on(page: str) -> str:
    found = re.search(r'<p class="left">(.*?)</p>', page)
    assert found is not None
    return found[1]


def heading_of(page: str) -> str:
    found = re.search(r"<h1>(.*?)</h1>", page)
    assert found is not None
    return found[1]


def verdict(reader: Any, page: str, **fields: str) -> str:
    """Send the form of the queue with these fields, as a browser does, and return the next page."""
    form = page[page.index('<form class="verdict"') :]
    action = re.search(r'action="([^"]+)"', form)
    assert action is not None
    if 'name="judged"' in form:
        fields["judged"] = "1"
    note = re.search(r"<textarea[^>]*>\n(.*?)</textarea>", form, re.DOTALL)
    assert note is not None
    answer = reader.post(html.unescape(action[1]), data={"note": html.unescape(note[1]), **fields})
    assert answer.ok, answer.text
    text: str = answer.text
    return text


def log_sessions(reader: Any, unique: str, count: int) -> list[dict[str, str]]:
    logged: list[dict[str, str]] = reader.log(
        *(
            {
                "project": unique,
                "session_reference_id": f"{unique}-{n}",
                "inputs": {"question": f"Question {n}"},
            }
            for n in range(count)
        )
    )
    return logged


def feedback_on(reader: Any, session_id: str) -> list[tuple[str, str]]:
    session = requests.get(f"{reader.url}/v4/sessions/{session_id}", timeout=PATIENCE).json()
    return [(one["type"], one["value"]) for one in session.get("feedback", [])]


def test_a_queue_is_worked_through(reader: Any, unique: str) -> None:
    """Newest first, without sessions that have a rating, even on a datapoint, and without empty ones."""
    logged = log_sessions(reader, unique, 6)
    queue = f"/judging?project={logged[0]['project_id']}"
    rated = {"type": "rating", "value": "bad"}
    reader.post(f"/datapoints/{logged[4]['id']}/feedback", data=rated)
    requests.post(
        f"{reader.url}/v4/feedback", json={**rated, "session_id": logged[2]["session_id"]}, timeout=PATIENCE
    )
    # A note is not a rating.
    reader.post(f"/sessions/{logged[3]['session_id']}/feedback", data={"type": "note", "value": "Hm."})
    page = reader.read(queue)
    assert (question_on(page), left_on(page)) == ("Question 5", "4 left")
    page = verdict(reader, page, rating="good", note="Well\r\nsaid")
    assert (question_on(page), left_on(page)) == ("Question 3", "3 left")
    page = verdict(reader, page, rating="")
    assert (question_on(page), left_on(page)) == ("Question 1", "2 left")
    page = verdict(reader, page, rating="", note="Later")
    page = verdict(reader, page, rating="bad")
    assert question_on(page) is None
    assert heading_of(page) == "No more sessions to judge"
    assert [feedback_on(reader, one["session_id"]) for one in logged] == [
        [("rating", "bad")],
        [("note", "Later")],
        [("rating", "bad")],
        [("note", "Hm.")],
        [],
        [("note", "Well\nsaid"), ("rating", "good")],
    ]
    # A filter finds feedback on either.
    found = reader.read(f"/?project={logged[0]['project_id']}&q=feedback:rating=bad")
    named = dict.fromkeys(re.findall(r"Question \d", found))
    assert list(named) == ["Question 4", "Question 2", "Question 0"]
    page = reader.read(queue)
    assert (question_on(page), left_on(page)) == ("Question 3", "2 left")
    for value in ("good", "bad"):
        page = verdict(reader, page, rating=value)
    assert heading_of(reader.read(queue)) == "Nothing to judge"


def test_the_queue_has_the_filter_of_the_list(reader: Any, unique: str) -> None:
    """A text or an error in a datapoint. The way back to newer sessions has it, too."""
    logged = log_sessions(reader, unique, 4)
    for one in logged[:3:2]:
        session = {"project": unique, "session_id": one["session_id"]}
        reader.log(**session, output=f"needle {unique}", error=f"needle {unique}")
    for query in (f"q=needle+{unique}", f"project={logged[0]['project_id']}&errors=1"):
        newest = reader.read(f"/judging?{query}")
        assert (question_on(newest), left_on(newest)) == ("Question 2", "2 left")
        page = verdict(reader, newest, rating="")
        assert (question_on(page), left_on(page)) == ("Question 0", "1 left")
        assert f'href="/judging?{html.escape(query)}&amp;after={logged[0]["session_id"]}"' in page
        back = reader.read(f"/judging?{query}&after={logged[0]['session_id']}")
        assert question_on(back) == "Question 2"
        page = reader.read(f"/judging?{query}&after={logged[2]['session_id']}")
        assert heading_of(page) == "Nothing newer to judge"


def test_a_session_that_another_reader_has_judged_meanwhile_is_skipped(reader: Any, unique: str) -> None:
    """The first rating stays, the note is stored, and the reader is told. A second visit may change it."""
    logged = log_sessions(reader, unique, 3)
    queue = f"/judging?project={logged[0]['project_id']}"
    page = reader.read(queue)
    verdict(reader, page, rating="good")
    late = verdict(reader, page, rating="bad", note="Not so good")
    assert question_on(late) == "Question 1"
    assert "Another reader had judged the previous session first" in late
    assert sorted(feedback_on(reader, logged[2]["session_id"])) == [
        ("note", "Not so good"),
        ("rating", "good"),
    ]
    # The same form twice, as by a double click, does not count as another reader.
    assert "Another reader" not in verdict(reader, page, rating="good")
    # A session that is judged while another one is shown is not shown at all.
    reader.post(f"/sessions/{logged[0]['session_id']}/feedback", data={"type": "rating", "value": "good"})
    assert heading_of(verdict(reader, late, rating="good")) == "No more sessions to judge"
    back = reader.read(f"/judging/{logged[2]['session_id']}?project={logged[0]['project_id']}")
    assert re.search(r'value="good" aria-keyshortcuts="g" aria-pressed="true"', back)
    assert left_on(back) == "0 left"
    verdict(reader, back, rating="bad", note="")
    assert feedback_on(reader, logged[2]["session_id"]) == [("rating", "bad")]


def test_a_place_in_the_queue_that_was_deleted_leads_to_its_beginning(reader: Any, unique: str) -> None:
    """It is not an error."""
    logged = log_sessions(reader, unique, 2)
    query = f"project={logged[0]['project_id']}"
    requests.delete(f"{reader.url}/v4/sessions/{logged[1]['session_id']}", timeout=PATIENCE)
    page = reader.read(f"/judging?{query}&before={logged[1]['session_id']}")
    assert question_on(page) == "Question 0"
    gone = f"/judging/{logged[1]['session_id']}?{query}"
    for answer in (reader.get(gone), reader.post(gone, data={"rating": "good"})):
        assert answer.status_code == 404
        assert "it was deleted, or never existed" in answer.text


def test_many_that_are_left_are_counted_to_a_bound(sqlite_reader: Any, unique: str) -> None:
    """No reader waits for the exact number of a long queue."""
    logged = log_sessions(sqlite_reader, unique, 101)
    page = sqlite_reader.read(f"/judging?project={logged[0]['project_id']}")
    assert left_on(page) == "100 or more left"
    page = verdict(sqlite_reader, page, rating="good")
    assert left_on(page) == "100 left"


def test_a_rating_that_there_is_not_is_refused(sqlite_reader: Any, unique: str) -> None:
    """Its note is refused, too."""
    [one] = [log_sessions(sqlite_reader, unique, 2)[0]]
    answer = sqlite_reader.post(f"/judging/{one['session_id']}", data={"rating": "fine", "note": "Hm."})
    assert answer.status_code == 422
    assert "value: &#39;fine&#39; is no value of &#39;rating&#39;" in answer.text
    assert feedback_on(sqlite_reader, one["session_id"]) == []


def test_nothing_of_another_organisation_is_to_be_judged(locked_server: Any, unique: str) -> None:
    """Neither in the queue, nor by its address."""
    owner, stranger = (locked_server.reader(f"{name} {unique}")[0] for name in ("owner", "stranger"))
    created = owner.log(project=unique, session_reference_id=unique)
    assert question_on(owner.read("/judging")) == "Session without an input"
    assert heading_of(stranger.read("/judging")) == "Nothing to judge"
    path = f"/judging/{created['session_id']}"
    assert stranger.get(path).status_code == 404
    assert stranger.post(path, data={"rating": "good"}).status_code == 404


@pytest.mark.slow
def test_sessions_are_judged_by_keys(sqlite_reader: Any, unique: str, open_page: Callable[..., Page]) -> None:
    """Good, bad, skip, back, and a note that keys do not interrupt. The dialog lists the keys."""
    logged = log_sessions(sqlite_reader, unique, 5)
    page = open_page(f"{sqlite_reader.url}/?project={logged[0]['project_id']}")
    page.get_by_role("link", name="Judge", exact=True).click()
    left, note = page.locator(".left"), page.get_by_label("Note", exact=True).last

    def expect_question(number: int) -> None:
        expect(page.locator("h1")).to_have_text(f"Question {number}")
        # From now on the page handles keys.
        page.wait_for_load_state()

    expect_question(4)
    expect(left).to_have_text("5 left")
    page.keyboard.press("?")
    expect(page.get_by_text("Judging: good or bad, and on to the next session")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    expect_question(3)
    page.keyboard.press("ArrowRight")
    expect_question(2)
    page.keyboard.press("k")
    expect_question(3)
    page.keyboard.press("j")
    expect_question(2)
    page.keyboard.press("n")
    expect(note).to_be_focused()
    page.keyboard.type("bug")
    page.keyboard.press("Escape")
    expect(note).not_to_be_focused()
    # Which would lose the note, unlike the next key.
    page.keyboard.press("k")
    page.keyboard.press("b")
    expect_question(1)
    expect(left).to_have_text("2 left")
    assert [feedback_on(sqlite_reader, logged[n]["session_id"]) for n in (4, 3, 2)] == [
        [("rating", "good")],
        [],
        [("note", "bug"), ("rating", "bad")],
    ]


@pytest.mark.slow
def test_a_key_that_is_held_judges_one_session(
    sqlite_reader: Any, unique: str, open_page: Callable[..., Page]
) -> None:
    """And not those, too, that the keyboard's repetition meets on the pages that follow."""
    logged = log_sessions(sqlite_reader, unique, 3)
    page = open_page(f"{sqlite_reader.url}/judging?project={logged[0]['project_id']}")
    for _ in range(4):
        page.keyboard.down("g")
        expect(page.locator("h1")).to_have_text("Question 1")
        # From then on it listens to keys.
        page.wait_for_load_state()
    page.keyboard.up("g")
    page.keyboard.press("b")
    expect(page.locator("h1")).to_have_text("Question 0")
    assert [feedback_on(sqlite_reader, one["session_id"]) for one in logged] == [
        [],
        [("rating", "bad")],
        [("rating", "good")],
    ]


@pytest.mark.slow
def test_what_could_not_be_stored_stays_and_says_so(
    tmp_path: Path, unique: str, open_page: Callable[..., Page]
) -> None:
    """A rating and a note. Once the server is back, and accepts them, one click stores both."""
    database = tmp_path / "database"
    with served(database) as base_url:
        reader = Reader(url_of(base_url))
        logged = log_sessions(reader, unique, 2)
        pages = [
            open_page(f"{reader.url}{path}") for path in (f"/sessions/{logged[0]['session_id']}", "/judging")
        ]
        expect(pages[1].locator("h1")).to_have_text("Question 1")
    session, judging = pages
    part, verdict = session.locator(".of-session"), judging.locator(".verdict")
    good = part.get_by_role("button", name="Good")
    for note, rating in ((part, good), (verdict, verdict.get_by_role("button", name="Bad"))):
        note.page.get_by_text("Note", exact=True).first.click()
        note.get_by_role("textbox").fill("Not lost")
        rating.click()
        expect(note.get_by_role("alert")).to_have_text("Not stored. The server does not answer.")
        expect(rating).to_have_attribute("aria-pressed", "false")
        expect(note.get_by_role("textbox")).to_have_value("Not lost")
    # At the address that the pages know.
    with serving_in_background(
        ServerSettings(port=int(reader.url.rpartition(":")[2]), database=str(database))
    ):
        part.get_by_role("textbox").fill("ü" * 4096)
        good.click()
        expect(part.get_by_role("alert")).to_contain_text("may be a text of up to 4,096 bytes")
        part.get_by_role("textbox").fill("Not lost")
        good.click()
        expect(good).to_have_attribute("aria-pressed", "true")
        expect(good).to_be_focused()
        expect(part).to_contain_text("note: Not lost")
        expect(part.get_by_role("alert")).to_be_hidden()
        expect(part.get_by_role("textbox")).to_be_hidden()
        judging.keyboard.press("Escape")
        judging.keyboard.press("b")
        expect(judging.get_by_role("heading", name="No more sessions to judge")).to_be_visible()
        assert [feedback_on(reader, one["session_id"]) for one in logged] == [
            [("note", "Not lost"), ("rating", "good")],
            [("note", "Not lost"), ("rating", "bad")],
        ]


@pytest.mark.slow
@pytest.mark.parametrize(("path", "part"), [("sessions", ".of-session"), ("judging", ".verdict")])
def test_leaving_an_unsent_note_asks_and_a_key_sends_it(
    sqlite_reader: Any, unique: str, open_page: Callable[..., Page], path: str, part: str
) -> None:
    """On the page of a session and in the queue, which both stay where they are."""
    [one] = log_sessions(sqlite_reader, unique, 1)
    page = open_page(f"{sqlite_reader.url}/{path}/{one['session_id']}")
    note, leave = page.locator(f"{part} textarea"), page.get_by_role("link", name="Projects")
    asked: list[str] = []

    def stay(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    page.once("dialog", stay)
    page.get_by_text("Note", exact=True).first.click()
    note.fill("Typed")
    look = "element => [getComputedStyle(element).color, getComputedStyle(element).fontSize]"
    assert note.evaluate(look) == page.locator("main").evaluate(look)
    leave.click()
    wait_until(lambda: asked == ["beforeunload"])
    expect(note).to_have_value("Typed")
    note.press("Control+Enter")
    expect(note).not_to_be_focused()
    expect(page.get_by_role("status")).to_have_text(re.compile("[Ss]tored"))
    assert feedback_on(sqlite_reader, one["session_id"]) == [("note", "Typed")]
    leave.click()
    expect(page.get_by_role("heading", name="Projects")).to_be_visible()


@pytest.mark.slow
def test_a_note_outlives_the_sign_in_of_its_reader(
    locked_server: Any, unique: str, open_page: Callable[..., Page]
) -> None:
    """The page, which otherwise shows the form to sign in, stays. A sign-in in another tab helps."""
    reader = locked_server.reader_with_the_key_of_the_settings()
    [one] = log_sessions(reader, unique, 1)
    page = open_page(f"{reader.url}/sessions/{one['session_id']}")

    def sign_in(page: Page) -> None:
        page.get_by_label("API key").fill(reader.api_key)
        page.keyboard.press("Enter")

    sign_in(page)
    part = page.locator(".of-session")
    part.get_by_text("Note", exact=True).first.click()
    part.get_by_role("textbox").fill("Kept")
    page.context.clear_cookies()
    with page.expect_response("**/version"):
        page.clock.run_for(2000)
    good = part.get_by_role("button", name="Good")
    good.click()
    expect(part.get_by_role("alert")).to_have_text("Not stored. Sign in first.")
    other = page.context.new_page()
    other.goto(f"{reader.url}/projects")
    sign_in(other)
    expect(other.get_by_role("heading", name="Projects")).to_be_visible()
    good.click()
    expect(part).to_contain_text("note: Kept")
