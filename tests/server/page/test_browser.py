import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme
from playwright.sync_api import Browser, Page, Request, expect

from hl_sessions.server.page.views import activity
from hl_sessions.server.run.serving import serving_in_background
from hl_sessions.server.settings import ServerSettings
from tests.nginx import documented, nginx
from tests.server.page.conftest import PHONE, Reader, url_of
from tests.servers import served
from tests.waiting import PATIENCE, wait_until


@pytest.fixture
def reader(sqlite_reader: Any) -> Any:
    """A browser does the same on every database, so one is enough."""
    return sqlite_reader


def look_again(page: Page) -> None:
    """Let the time pass after which the page updates itself."""
    page.clock.run_for(2000)


def wait_for(page: Page, expression: str, value: object) -> None:
    """Wait for an expression, as Playwright does only on pages that allow ``eval``."""
    wait_until(lambda: page.evaluate(expression) == value)


def width_of(page: Page) -> int:
    width: int = page.evaluate("document.documentElement.scrollWidth")
    return width


@pytest.mark.slow
def test_a_full_list_is_a_short_load(unique: str, browser: Browser, tmp_path: Path) -> None:
    """With its styles and scripts, and the longest texts in all rows; of a server with few projects."""
    with served(tmp_path / "own.sqlite3") as base_url:
        sizes = sizes_of_first_load(Reader(url_of(base_url)), unique, browser)
    assert len(sizes) > 10
    assert sum(size["responseHeadersSize"] + size["responseBodySize"] for size in sizes) < 120_000


def sizes_of_first_load(reader: Reader, unique: str, browser: Browser) -> list[Any]:
    reader.log(
        *(
            {
                "project": f"{unique} {number % 3}",
                "session_reference_id": f"{unique} {number}",
                "inputs": {"question": f"{number} " + unique * 20},
                "output": f"{number} " + unique * 20,
            }
            for number in range(50)
        )
    )
    loaded: list[Request] = []

    def note(request: Request) -> None:
        if request.resource_type != "fetch":  # of rows that a busy machine shows as new ones
            loaded.append(request)

    with browser.new_context() as context:
        page = context.new_page()
        page.on("requestfinished", note)
        page.goto(reader.url, wait_until="networkidle")
        expect(page.locator("#rows tr")).to_have_count(50)
        return [request.sizes() for request in loaded]


EVIL = '"><script>document.title = "owned"; alert(1)</script><img src=x onerror=alert(1)>'


@pytest.mark.slow
def test_every_value_is_shown_and_none_is_run(
    reader: Any, unique: str, open_page: Callable[..., Page]
) -> None:
    """Regardless of its field, and of the place where it is shown."""
    created = reader.log(
        project=f"{EVIL} {unique}",
        session_reference_id=f"{EVIL} {unique}",
        reference_id=f"{EVIL} {unique}",
        source=EVIL,
        environment=EVIL,
        inputs={EVIL: EVIL, "link": "[link](javascript:alert(1))", "nested": {EVIL: [EVIL]}},
        messages=[
            {"role": "user", "content": EVIL},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": EVIL},
                    {"type": "image_url", "image_url": {"url": EVIL}},
                ],
            },
        ],
        output=f"{EVIL} [click me](javascript:alert(1)) ![i](https://evil.example/i.png)\n\n|a|\n|:-:|\n|b|",
        error=EVIL,
        stdout=EVIL,
        metadata={EVIL: EVIL},
        config={"type": "model", "model": EVIL},
        feedback=[{"type": EVIL, "value": EVIL, "user": EVIL}],
    )
    other = reader.log(project=unique, output=f"{EVIL} too", error=f"no {EVIL}", source=EVIL)
    requests.post(
        f"{reader.url}/v4/feedback",
        json={"session_id": created["session_id"], "type": "note", "value": EVIL, "user": EVIL},
        timeout=PATIENCE,
    )
    session, compared = f"/sessions/{created['session_id']}", f"/datapoints/{created['id']}/compare"
    page = open_page(f"{reader.url}/?q={unique}")
    for path in (
        f"/?q={unique}",
        session,
        f"{session}?view=timeline",
        session.replace("/sessions/", "/judging/"),
        f"{compared}?id={other['id']}",
        "/projects",
        "/activity",
    ):
        page.goto(f"{reader.url}{path}")
        page.evaluate("for (const details of document.querySelectorAll('details')) details.open = true")
        if path.startswith(("/sessions/", "/judging/")):
            expect(page.get_by_text(EVIL).first).to_be_visible()
            expect(page.get_by_text("[click me](javascript:alert(1))")).to_be_visible()
        assert page.locator("a[href^='javascript:' i], main script, main img").count() == 0
        assert page.title() != "owned"


def test_new_sessions_appear_by_themselves(reader: Any, unique: str, open_page: Callable[..., Page]) -> None:
    """On the newest page, unless the reader has scrolled or is at a row. Changes of rows always appear."""
    created = reader.log(
        *(
            {"project": unique, "session_reference_id": f"{unique}-{n}", "output": f"old {n}"}
            for n in range(60)
        )
    )
    page = open_page(
        f"{reader.url}/?project={created[0]['project_id']}", viewport={"width": 1000, "height": 500}
    )
    rows = page.locator("#rows tr")
    expect(rows).to_have_count(50)
    reader.log(project=unique, session_reference_id=f"{unique}-60", output="new")
    look_again(page)
    expect(rows.first).to_contain_text("new")
    expect(rows).to_have_count(50)
    expect(page.get_by_role("status")).to_have_text("1 new session")

    page.mouse.move(500, 400)
    page.mouse.wheel(0, 300)
    wait_for(page, "scrollY", 300)
    seen = page.locator("#rows tr", has_text="old 45")
    place = seen.bounding_box()
    for number in (61, 62):
        reader.log(project=unique, session_reference_id=f"{unique}-{number}", output=f"newer {number}")
    reader.log(project=unique, session_reference_id=f"{unique}-45", output="old 45 goes on", error="Oh")
    look_again(page)
    pill = page.get_by_role("button", name="2 new sessions")
    expect(pill).to_be_visible()
    expect(seen).to_contain_text("old 45 goes on")
    expect(seen).to_contain_text("1 error")
    assert seen.bounding_box() == place
    pill.click()
    expect(rows.first).to_contain_text("newer 62")
    expect(pill).to_be_hidden()
    wait_for(page, "scrollY", 0)
    expect(rows.first.get_by_role("link")).to_be_focused()


@pytest.mark.slow
def test_rows_stay_chosen_when_sessions_arrive(
    reader: Any, unique: str, open_page: Callable[..., Page]
) -> None:
    """Single rows, a range or all, even if the list would end before them by now."""
    created = reader.log(
        *(
            {"project": unique, "session_reference_id": f"{unique}-{n}", "output": f"output {n}"}
            for n in range(50)
        )
    )
    page = open_page(f"{reader.url}/?project={created[0]['project_id']}")
    boxes = page.locator("#rows").get_by_role("checkbox")
    delete = page.get_by_role("button", name="Delete")
    expect(delete).to_be_disabled()
    boxes.nth(46).check()
    boxes.nth(49).click(modifiers=["Shift"])
    expect(page.locator("#chosen")).to_have_text("4 chosen")
    for number in (50, 51):
        reader.log(project=unique, session_reference_id=f"{unique}-{number}", output="new")
    reader.log(project=unique, session_id=created[3]["session_id"], output="goes on")
    look_again(page)
    expect(page.locator("#rows tr", has_text="goes on").get_by_role("checkbox")).to_be_checked()
    page.get_by_role("button", name="2 new sessions").click()
    rows = page.locator("#rows tr")
    expect(rows).to_have_count(52)
    expect(rows.first).to_contain_text("new")
    chosen = page.locator("#rows tr", has=page.locator(":checked"))
    expect(chosen).to_contain_text(["goes on", "output 2", "output 1", "output 0"])
    expect(page.locator("#chosen")).to_have_text("4 chosen")
    page.get_by_label("All on this page").check()
    expect(page.locator("#chosen")).to_have_text("52 chosen")
    page.get_by_label("All on this page").uncheck()
    expect(page.locator("#chosen")).to_have_text("None chosen")
    expect(delete).to_be_disabled()
    page.get_by_label("All that the filter finds").check()
    expect(delete).to_be_enabled()


@pytest.mark.slow
def test_chosen_sessions_are_copied_and_deleted(
    reader: Any, unique: str, open_page: Callable[..., Page]
) -> None:
    """From the list and from the page of a session; each deletion is confirmed once."""
    created = reader.log(
        *({"project": unique, "session_reference_id": f"{unique}-{n}", "output": unique} for n in range(70))
    )
    session_ids = [one["session_id"] for one in created]
    page = open_page(
        f"{reader.url}/?project={created[0]['project_id']}",
        permissions=["clipboard-read", "clipboard-write"],
    )
    rows = page.locator("#rows tr")
    for number in (0, 2):
        rows.nth(number).get_by_role("checkbox").check()
    page.get_by_role("button", name="Copy IDs").click()
    wait_for(page, "navigator.clipboard.readText()", f"{session_ids[69]}\n{session_ids[67]}")
    page.get_by_label("All that the filter finds").check()
    page.get_by_role("button", name="Cop").click()
    wait_for(page, "navigator.clipboard.readText()", "\n".join(session_ids))
    page.get_by_label("All that the filter finds").uncheck()
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("heading", name="Delete 2 sessions with 2 datapoints?")).to_be_visible()
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("2 sessions with 2 datapoints are deleted.")).to_be_visible()
    page.get_by_role("link", name="To the sessions").click()
    expect(rows.first).to_have_attribute("data-id", session_ids[68])
    rows.first.get_by_role("link").click()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("link", name="Cancel").click()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete").click()
    expect(rows.first).to_have_attribute("data-id", session_ids[66])


@pytest.mark.slow
def test_a_paused_list_says_what_has_come_meanwhile(
    reader: Any, unique: str, open_page: Callable[..., Page]
) -> None:
    """By a button and by a key. Nothing in the list moves or changes until it is resumed."""
    created = reader.log(project=unique, session_reference_id=unique, output="old")
    page = open_page(f"{reader.url}/?project={created['project_id']}")
    rows = page.locator("#rows tr")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#live")).to_have_text("paused")
    for number in range(2):
        reader.log(project=unique, session_reference_id=f"{unique}-{number}", output="new")
    reader.log(project=unique, session_reference_id=unique, output="goes on")
    look_again(page)
    expect(page.get_by_role("button", name="2 new sessions")).to_be_visible()
    expect(page.get_by_role("status")).to_have_text("2 new sessions")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("old")
    page.keyboard.press("j")
    page.keyboard.press("p")
    expect(rows).to_have_count(3)
    expect(rows.last).to_contain_text("goes on")
    expect(rows.last.get_by_role("link")).to_be_focused()
    expect(page.locator("#live")).to_have_text("live")
    expect(page.locator("#newer")).to_be_hidden()


@pytest.mark.slow
def test_the_first_datapoint_appears_by_itself(tmp_path: Path, open_page: Callable[..., Page]) -> None:
    """An empty server shows the code that sends one, and the code works."""
    settings = ServerSettings(port=0, database=str(tmp_path / "empty.sqlite3"))
    with serving_in_background(settings) as base_url:
        page = open_page(base_url.removesuffix("v4"))
        expect(page.get_by_role("heading", name="Send the first datapoint")).to_be_visible()
        requests.post(f"{base_url}/logs", json={"project": "alone"}, timeout=PATIENCE)
        page.reload()
        expect(page.get_by_role("heading", name="Send the first datapoint of a session")).to_be_visible()
        expect(page.get_by_text("1 datapoint has no session.")).to_be_visible()
        python, curl = (code.inner_text() for code in page.locator("pre").all())
        subprocess.run([sys.executable, "-c", python], check=True)
        look_again(page)
        expect(page.get_by_role("rowheader")).to_have_text("Hello?")
        call = re.fullmatch(r"curl (\S+) .*-H \"(.+): (.+)\" .*-d '(.+)'", curl, re.DOTALL)
        assert call
        url, header, value, body = call.groups()
        assert requests.post(url, data=body, headers={header: value}, timeout=PATIENCE).ok
        look_again(page)
        expect(page.locator("#rows tr")).to_have_count(2)
        # When the server ends, the page says so, and keeps its content.
    look_again(page)
    expect(page.locator("#live")).to_have_text("not live: the server does not answer")
    expect(page.locator("#rows tr")).to_have_count(2)


@pytest.mark.slow
def test_filters_are_completed_by_keys_and_clicks(
    reader: Any, unique: str, open_page: Callable[..., Page]
) -> None:
    """No completion is taken unless the reader has chosen it. Otherwise Enter searches."""
    config = {"model": f"model of {unique}"}
    reader.log(project=unique, session_reference_id=unique, inputs={"q": unique}, config=config)
    page = open_page(f"{reader.url}/")
    field = page.get_by_role("combobox", name="Search")
    options = page.get_by_role("listbox", name="Suggestions").get_by_role("option")
    field.press_sequentially("-mo")
    expect(options).to_have_text(["-model: the model of a datapoint"])
    expect(field).to_have_attribute("aria-expanded", "true")
    expect(field).not_to_have_attribute("aria-activedescendant", re.compile(".*"))
    field.press("Escape")
    expect(options).to_have_count(0)
    expect(field).to_have_value("-mo")
    field.press("ArrowDown")
    expect(field).to_have_attribute("aria-activedescendant", "completion-0")
    field.press("Enter")
    expect(field).to_have_value("-model:")
    field.press_sequentially(unique[:30])
    options.filter(has_text=unique).click()
    expect(field).to_have_value(f'-model:"model of {unique}" ')
    expect(field).to_be_focused()
    expect(options).to_have_count(0)
    field.fill(f'model:"model of {unique}" project:{unique[:30]}')
    expect(options).to_have_text([f"project:{unique} project"])
    field.press("Enter")
    page.wait_for_url("**/?q=model*")
    expect(page.get_by_role("heading", name="No session matches")).to_be_visible()
    expect(field).to_have_value(f'model:"model of {unique}" project:{unique[:30]}')
    field.fill(f'model:"model of {unique}" cost>x')
    field.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("cost> has to be followed by a number")
    expect(field).to_have_attribute("aria-invalid", "true")


@pytest.mark.slow
def test_a_sorted_list_stays_sorted_when_sessions_arrive(
    reader: Any, unique: str, open_page: Callable[..., Page]
) -> None:
    """A new session takes its place in the order, with the columns that the reader has chosen."""
    for cost in (1, 3):
        reader.log(project=unique, session_reference_id=f"{unique}-{cost}", prompt_cost=cost)
    page = open_page(f"{reader.url}/?q=project:{unique}")
    page.get_by_text("Columns", exact=True).click()
    page.get_by_label("Cost").check()
    page.get_by_role("button", name="Show these").click()
    page.get_by_role("columnheader", name="Cost").get_by_role("link").click()
    page.wait_for_url("**sort=-cost")
    costs = page.locator("td.cost")
    expect(costs).to_have_text(["$3.00", "$1.00"])
    reader.log(project=unique, session_reference_id=f"{unique}-2", prompt_cost=2)
    page.mouse.move(0, 0)
    page.clock.run_for(10_000)
    expect(costs).to_have_text(["$3.00", "$2.00", "$1.00"])


@pytest.mark.slow
def test_filters_stand_in_the_address(reader: Any, unique: str, open_page: Callable[..., Page]) -> None:
    """A choice is applied at once, a search by the return key. Empty fields are not in the address."""
    created = reader.log(project=unique, session_reference_id=unique, inputs={"q": f"needle {unique}"})
    page = open_page(f"{reader.url}/")
    page.get_by_label("Project", exact=True).select_option(unique)
    page.wait_for_url(f"{reader.url}/?project={created['project_id']}")
    page.get_by_label("Search").fill("needle")
    page.get_by_label("Search").press("Enter")
    page.wait_for_url(f"{reader.url}/?q=needle&project={created['project_id']}")
    expect(page.get_by_role("rowheader")).to_have_text(f"needle {unique}")
    page.get_by_label("With errors").check()
    page.wait_for_url(f"{reader.url}/?q=needle&project={created['project_id']}&errors=1")
    expect(page.get_by_role("heading", name="No session matches")).to_be_visible()
    page.get_by_role("link", name="Clear").click()
    page.wait_for_url(f"{reader.url}/")


@pytest.mark.slow
def test_a_rating_and_a_copy_are_one_click(reader: Any, unique: str, open_page: Callable[..., Page]) -> None:
    """The page stays where it is. The whole value is copied, not only the shown part."""
    text = "**word** " * 5000
    created = reader.log(project=unique, session_reference_id=unique, output=text)
    page = open_page(
        f"{reader.url}/sessions/{created['session_id']}", permissions=["clipboard-read", "clipboard-write"]
    )
    turn = page.locator(".turn")
    good, bad = (turn.get_by_role("button", name=name) for name in ("Good", "Bad"))
    good.click()
    expect(page.get_by_role("status")).to_have_text("Rated good")
    expect(good).to_have_attribute("aria-pressed", "true")
    bad.click()
    expect(good).to_have_attribute("aria-pressed", "false")
    bad.click()
    expect(page.get_by_role("status")).to_have_text("Rating taken back")
    expect(bad).to_have_attribute("aria-pressed", "false")
    good.click()
    expect(page.get_by_role("status")).to_have_text("Rated good")
    with page.expect_response("**/version"):
        look_again(page)
    expect(page.get_by_role("button", name="This session has changed")).to_be_hidden()
    page.get_by_role("button", name="Copy output").click()
    expect(page.get_by_role("status")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == text
    page.get_by_role("button", name="Copy session ID").click()
    wait_for(page, "navigator.clipboard.readText()", created["session_id"])
    page.get_by_text("All that was logged").click()
    page.get_by_role("button", name="Copy link to the datapoint").click()
    wait_for(page, "navigator.clipboard.readText()", f"{reader.url}/datapoints/{created['id']}")
    page.reload()
    expect(good).to_have_attribute("aria-pressed", "true")


@pytest.mark.slow
def test_a_session_that_goes_on_says_so(reader: Any, unique: str, open_page: Callable[..., Page]) -> None:
    """It shows the change when the reader wants to see it."""
    created = reader.log(project=unique, session_reference_id=unique, output="first")
    page = open_page(f"{reader.url}/sessions/{created['session_id']}")
    reader.log(project=unique, session_reference_id=unique, output="second")
    look_again(page)
    page.get_by_role("button", name="This session has changed").click()
    expect(page.get_by_text("second")).to_be_visible()


@pytest.mark.slow
def test_the_keyboard_gets_everywhere(reader: Any, unique: str, open_page: Callable[..., Page]) -> None:
    """Past the navigation, into a session, and into a branch of its tree, with a visible focus."""
    created = reader.log(project=unique, session_reference_id=unique, source="step", inputs={"q": unique})
    page = open_page(f"{reader.url}/?q={unique}")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    expect(page.get_by_role("link", name="Skip to the content")).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()
    link = page.get_by_role("link", name=unique)
    for _ in range(25):
        page.keyboard.press("Tab")
        if link.evaluate("element => element === document.activeElement"):
            break
    assert link.evaluate("element => getComputedStyle(element, '::after').outlineStyle") == "solid"
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/sessions/{created['session_id']}?q={unique}")
    page.get_by_role("link", name="Timeline").press("Enter")
    branch = page.locator("summary.branch")
    branch.press("Enter")
    expect(page.get_by_role("listitem").get_by_role("button", name="Good")).to_be_visible()


@pytest.mark.slow
def test_keys_lead_through_the_list_and_its_sessions(
    reader: Any, unique: str, open_page: Callable[..., Page]
) -> None:
    """In the order and the filter of the list. They do nothing while the reader types, nor with Ctrl."""
    created = reader.log(
        *(
            {"project": unique, "session_reference_id": f"{unique}-{n}", "inputs": {"q": f"input {n}"}}
            for n in range(3)
        )
    )
    first, second, third = (one["session_id"] for one in created)
    project = f"?project={created[0]['project_id']}"
    page = open_page(f"{reader.url}/{project}")
    links = page.locator("#rows a")
    for key, number in (("j", 0), ("j", 1), ("j", 2), ("j", 2), ("k", 1), ("Control+j", 1)):
        page.keyboard.press(key)
        expect(links.nth(number)).to_be_focused()
    page.keyboard.press("/")
    search = page.get_by_role("combobox", name="Search")
    expect(search).to_be_focused()
    page.keyboard.type("jk/")
    expect(search).to_have_value("jk/")
    search.fill("")
    links.nth(1).focus()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/sessions/{second}{project}")
    for key, session_id in (("j", first), ("k", second), ("k", third)):
        page.keyboard.press(key)
        page.wait_for_url(f"**/sessions/{session_id}{project}")
    page.keyboard.press("k")
    expect(page.get_by_role("link", name="Older session")).to_be_visible()
    expect(page.get_by_role("link", name="Newer session")).to_be_hidden()
    page.get_by_role("link", name="Sessions", exact=True).last.click()
    page.wait_for_url(f"{reader.url}/{project}")


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/sessions/SESSION?project=PROJECT", "/judging?project=PROJECT"])
def test_no_key_takes_a_note_away(
    sqlite_reader: Any, unique: str, open_page: Callable[..., Page], path: str
) -> None:
    """A note has the focus once it is open. While it is open or not saved, keys do nothing else."""
    created = sqlite_reader.log(
        *({"project": unique, "session_reference_id": f"{unique}-{n}", "output": "said"} for n in range(3))
    )
    path = path.replace("SESSION", created[1]["session_id"]).replace("PROJECT", created[0]["project_id"])
    page = open_page(sqlite_reader.url + path)
    summary = page.locator(".turn .typed summary")
    note = page.locator(".turn .typed textarea")
    body = page.locator("body")
    address = page.url
    keys = "jgbkn/p?"
    for opening_key in (None, "Enter", "Space"):
        if opening_key is None:
            summary.click()
        else:
            summary.press(opening_key)
        expect(note).to_be_focused()
        page.keyboard.type(keys)
        expect(note).to_have_value(keys)
        # This one is for an input method.
        note.dispatch_event("keydown", {"key": "Escape", "isComposing": True})
        expect(note).to_be_focused()
        summary.focus()
        page.keyboard.type(keys)
        page.keyboard.press("Escape")
        expect(body).to_be_focused()
        page.keyboard.type(keys)
        page.keyboard.press("ArrowRight")
        # It is not saved, so it stays open; folded by the reader, it is not lost either.
        summary.click()
        expect(note).to_be_hidden()
        page.keyboard.press("Escape")
        page.keyboard.type(keys)
        page.keyboard.press("ArrowRight")
        summary.click()
        expect(note).to_have_value(keys)
        note.fill("")
        page.keyboard.press("Escape")
        expect(note).to_be_hidden()
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowLeft")
    expect(page.get_by_role("dialog", name="Keys")).to_be_hidden()
    assert page.url == address
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    expect(page).not_to_have_url(address)


@pytest.mark.slow
def test_a_name_or_an_id_is_all_it_takes_to_get_there(
    reader: Any, unique: str, open_page: Callable[..., Page]
) -> None:
    """Ctrl-K and Cmd-K open a dialog for it, and ``?`` opens one that shows the keys."""
    created = reader.log(project=unique, session_reference_id=f"chat {unique}", inputs={"q": unique})
    session = f"{reader.url}/sessions/{created['session_id']}"
    page = open_page(f"{reader.url}/projects")
    field = page.get_by_role("combobox", name="Jump to")
    for shortcut, text, address in (
        ("Control+k", unique[:-1].upper(), f"{reader.url}/?project={created['project_id']}"),
        ("Meta+k", created["id"], f"{session}#{created['id']}"),
    ):
        page.keyboard.press(shortcut)
        expect(field).to_be_focused()
        page.keyboard.type(text)
        page.keyboard.press("Enter")
        page.wait_for_url(address)
    page.get_by_role("button", name="Jump").click()
    chosen = page.get_by_role("listbox", name="Places").get_by_role("option", selected=True)
    expect(chosen).to_contain_text("Sessions")
    page.keyboard.press("ArrowDown")
    expect(chosen).to_contain_text("Judging")
    assert field.get_attribute("aria-activedescendant") == chosen.get_attribute("id")
    page.keyboard.type("nothing of this name")
    expect(chosen).to_have_count(0)
    page.keyboard.press("Escape")
    expect(field).to_be_hidden()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Control+k")
    expect(field).to_be_hidden()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Keys")).to_be_hidden()


@pytest.mark.slow
def test_a_text_is_found_in_what_is_folded(reader: Any, unique: str, open_page: Callable[..., Page]) -> None:
    """Enter opens the folded part with the next place and goes there, Shift-Enter goes back."""
    items = [{"name": f"item {number}", "of": {"x": "y" * 30}} for number in range(30)]
    created = reader.log(project=unique, session_reference_id=unique, inputs={"a": items, "b": "ITEM 29?"})
    page = open_page(f"{reader.url}/sessions/{created['session_id']}")
    page.keyboard.press("/")
    page.keyboard.type("item 29")
    told = page.locator("#found")
    expect(told).to_have_text("2 found")
    place = page.get_by_text('"item 29"')
    expect(place).to_be_hidden()
    page.keyboard.press("Enter")
    expect(told).to_have_text("1 of 2")
    expect(place).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(told).to_have_text("2 of 2")
    page.keyboard.press("Shift+Enter")
    expect(told).to_have_text("1 of 2")
    expect(page.get_by_role("searchbox", name="Find in this session")).to_be_in_viewport()
    page.get_by_role("searchbox").fill("(item")
    expect(told).to_have_text("0 found")


@pytest.mark.slow
def test_finding_tells_that_nested_datapoints_are_in_the_timeline(
    reader: Any, unique: str, open_page: Callable[..., Page]
) -> None:
    """A conversation shows only their number, so no text of theirs is found there."""
    shared = {"project": unique, "session_reference_id": unique}
    answer = {"reference_id": f"{unique}-answer", "output": "A needle", **shared}
    step = {"parent_reference_id": f"{unique}-answer", "output": "needle " * 1001, **shared}
    created, _ = reader.log(answer, step)
    page = open_page(f"{reader.url}/sessions/{created['session_id']}")
    told = page.locator("#found")
    page.get_by_role("searchbox").fill("needle")
    expect(told).to_have_text("1 found (nested not searched)")
    page.goto(f"{reader.url}/sessions/{created['session_id']}?view=timeline")
    page.get_by_role("searchbox").fill("needle")
    expect(told).to_have_text("1000 or more found")
    page.keyboard.press("Enter")
    expect(told).to_have_text("1 of 1000 or more")


@pytest.mark.slow
def test_screen_readers_are_told_what_is_what(
    reader: Any, unique: str, open_page: Callable[..., Page]
) -> None:
    """Landmarks, a named table with headers, and names of all controls; on a phone, too."""
    created = reader.log(project=unique, session_reference_id=unique, inputs={"q": "Why?"}, error="Oh")
    page = open_page(f"{reader.url}/?project={created['project_id']}")
    for width in (1280, PHONE["width"]):
        page.set_viewport_size({"width": width, "height": 800})
        table = page.get_by_role("table", name="Sessions, newest first")
        assert table.get_by_role("columnheader").all_inner_texts()[:4] == [
            "Chosen",
            "Began",
            "First input",
            "Last output",
        ]
        expect(table.get_by_role("rowheader")).to_have_text("Why?")
        assert len(table.get_by_role("cell").all()) == 7
        expect(table.get_by_role("checkbox", name="Choose Why?")).to_be_visible()
        for role in ("banner", "navigation", "main", "search"):
            expect(page.get_by_role(role).first).to_be_visible()
        nameless = page.evaluate(
            "[...document.querySelectorAll('input:not([type=hidden]), select')].filter((e) => !e.labels[0])"
        )
        assert nameless == []
        assert page.get_by_role("heading", level=1).count() == 1


@pytest.mark.slow
def test_a_phone_shows_it_without_scrolling_sideways(
    reader: Any, unique: str, open_page: Callable[..., Page]
) -> None:
    """With long words, wide tables and long code."""
    words = {
        "inputs": {"x" * 90: "y" * 300},
        "output": f"{'z' * 300}\n\n|a|b|\n|-|-|\n|{'c' * 200}|{'d' * 200}|",
    }
    created = reader.log(project="p" * 120, session_reference_id=unique + "r" * 99, source="s" * 99, **words)
    other = reader.log(
        project=unique, session_reference_id=unique + "r" * 99, parent_id=created["id"], error="e" * 300
    )
    compared = f"/datapoints/{created['id']}/compare?id={other['id']}"
    session = f"/sessions/{created['session_id']}"
    page = open_page(f"{reader.url}/?q={created['id']}", viewport=PHONE)
    assert width_of(page) == PHONE["width"]
    judging = f"/judging/{created['session_id']}"
    for path in ("/", session, f"{session}?view=timeline", judging, compared, "/projects", "/activity", "/x"):
        page.goto(f"{reader.url}{path}")
        page.evaluate("for (const details of document.querySelectorAll('details')) details.open = true")
        assert width_of(page) == PHONE["width"], path


@pytest.mark.slow
def test_a_phone_gives_fields_the_width_that_they_need(
    reader: Any, unique: str, open_page: Callable[..., Page]
) -> None:
    """The fields to find a text, and to choose the datapoint to compare with: all of it. Days are not cut."""
    shared = {"project": unique, "session_reference_id": unique}
    created, _ = reader.log(*({"source": "answer", "output": output, **shared} for output in "ab"))
    page = open_page(f"{reader.url}/sessions/{created['session_id']}", viewport=PHONE)
    width = page.locator("main").evaluate(
        "main => main.clientWidth - 2 * parseFloat(getComputedStyle(main).paddingLeft)"
    )
    field = page.get_by_role("searchbox")
    assert field.evaluate("field => field.offsetWidth") == pytest.approx(width, abs=1)
    page.goto(f"{reader.url}/datapoints/{created['id']}/compare")
    assert page.get_by_label("With", exact=True).evaluate("field => field.offsetWidth") == pytest.approx(
        width, abs=1
    )
    page.goto(f"{reader.url}/?q={unique}")
    for phone in (PHONE["width"], 390, 430):
        page.set_viewport_size({"width": phone, "height": PHONE["height"]})
        for day in page.locator("[type=date]").all():
            needed = "day => [day.style.width = 'max-content', day.offsetWidth, day.style.width = ''][1]"
            assert day.evaluate("day => day.offsetWidth") >= day.evaluate(needed)


@pytest.mark.slow
def test_a_phone_shows_names_and_links_whole(
    reader: Any, unique: str, open_page: Callable[..., Page]
) -> None:
    """In the time line names have a line of their own, and a long project leaves room for the links."""
    project, parent = f"{unique}_in_production", {"session_reference_id": unique}
    for name in ("answer customer", "agent", "search orders", "call tool", "write reply"):
        created = reader.log(project=project, source=name, duration=1.5, prompt_tokens=12345, **parent)
        parent = {"parent_id": created["id"]}
    reader.log(project=project, source="check", duration=1.5, prompt_tokens=12345, error="Timeout", **parent)
    page = open_page(f"{reader.url}/sessions/{created['session_id']}?view=timeline", viewport=PHONE)
    names = page.locator(".branch .name")
    expect(names).to_have_count(6)
    cut = (
        "names => names.filter((name) => name.scrollWidth > name.clientWidth).map((name) => name.textContent)"
    )
    assert names.evaluate_all(cut) == []
    badge, number = (
        page.locator(".branch").last.locator(part).first.bounding_box() for part in (".badge", ".number")
    )
    assert badge
    assert number
    assert badge["y"] + badge["height"] <= number["y"]
    page.goto(f"{reader.url}/projects")
    lines = "link => link.getClientRects().length"
    assert page.get_by_role("link", name=f"Activity of {project}").evaluate(lines) == 1


@pytest.mark.slow
@pytest.mark.parametrize("has_scripts", [True, False], ids=["with scripts", "without scripts"])
def test_each_state_of_sums_takes_the_place_of_the_one_before(
    reader: Any,
    unique: str,
    open_page: Callable[..., Page],
    monkeypatch: pytest.MonkeyPatch,
    has_scripts: bool,  # noqa: FBT001
) -> None:
    """All sent states are in the page, and only the last one is visible."""
    for name, value in (("_FIRST_PART", 1), ("_PART", 1), ("_PAUSE", 0)):
        monkeypatch.setattr(activity, name, value)
    reader.log(
        *({"project": unique, "session_reference_id": f"{unique}-{n}", "output": unique} for n in "abc")
    )
    page = open_page(f"{reader.url}/?q={unique}", java_script_enabled=has_scripts)
    page.get_by_role("link", name="Sum up").click()
    states = page.locator("section.sums")
    expect(states).to_have_count(3)
    expect(states.filter(visible=True)).to_have_count(1)
    expect(states.last).to_be_visible()
    expect(page.get_by_text("Finding the sessions …")).to_be_hidden()
    expect(page.get_by_role("table", name="By project").get_by_role("rowheader", name=unique)).to_be_visible()
    page.get_by_role("link", name="Show them as a list").click()
    expect(page.locator("#rows tr")).to_have_count(3)


@pytest.mark.slow
def test_dark_and_light_follow_the_reader(reader: Any, open_page: Callable[..., Page]) -> None:
    """Dark text on light ground, or the other way round."""
    page = open_page(f"{reader.url}/projects")
    for scheme, is_dark in (("light", False), ("dark", True)):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        colours = page.evaluate(
            "(({ color, backgroundColor }) => [color, backgroundColor])(getComputedStyle(document.body))"
        )
        text, ground = (sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in colours)
        assert (text > 600 and ground < 150) if is_dark else (text < 150 and ground > 600)


@pytest.mark.slow
def test_fifty_rows_come_without_a_shift(reader: Any, unique: str, open_page: Callable[..., Page]) -> None:
    """Nothing on the page moves after it was drawn, even when the scripts run."""
    created = reader.log(
        *({"project": unique, "session_reference_id": f"{unique}-{n}", "output": "o"} for n in range(50))
    )
    page = open_page(f"{reader.url}/?project={created[0]['project_id']}")
    expect(page.locator("#rows tr")).to_have_count(50)
    with page.expect_response("**/sessions/rows*"):
        look_again(page)
    shift = page.evaluate(
        """() => new Promise((resolve) => {
            new PerformanceObserver((list) => resolve(list.getEntries().reduce((sum, e) => sum + e.value, 0)))
                .observe({ type: "layout-shift", buffered: true });
            requestAnimationFrame(() => requestAnimationFrame(() => resolve(0)));
        })"""
    )
    assert shift == 0


@pytest.mark.slow
def test_the_form_signs_in_and_out(locked_server: Any, open_url: str, open_page: Callable[..., Page]) -> None:
    """In a real browser: with its cookie, its origin and the policy of the page."""
    page = open_page(f"{locked_server.url}/projects")
    expect(page.get_by_label("API key")).to_be_focused()
    page.get_by_label("API key").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("This key is not valid, or was revoked.")
    expect(page.get_by_label("API key")).to_be_focused()
    page.get_by_label("API key").fill(locked_server.settings.api_key)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Projects")
    assert page.evaluate("document.cookie") == ""
    # After a link on another site, the browser sends its first request without the cookie.
    page.goto(open_url.replace("127.0.0.1", "localhost"))
    page.evaluate(f"location.href = '{locked_server.url}/projects?a=b'")
    expect(page).to_have_url(f"{locked_server.url}/projects?a=b")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("API key")).to_be_visible()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scheme", "host"), [("http", "$host"), ("https", "$http_host")], ids=["the port is lost", "TLS"]
)
def test_behind_nginx_and_below_a_path_the_page_works_as_ever(
    tmp_path: Path, open_page: Callable[..., Page], scheme: str, host: str
) -> None:
    """Signing in, updates, copying, ratings and signing out, with a cookie that no other path gets."""
    trustme.CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "pem")
    listen = (
        "listen 80;" if scheme == "http" else "listen 80 ssl; ssl_certificate pem; ssl_certificate_key pem;"
    )
    changes = (("$http_host", host), ("listen 80;", listen))
    key = "the key behind nginx"
    with (
        served(tmp_path / "database", api_key=key, root_path="/sessions") as base_url,
        nginx(tmp_path, documented([base_url], *changes)) as address,
    ):
        reader, url = Reader(base_url.removesuffix("/v4"), key), f"{scheme}://{address}/sessions"
        page = open_page(
            f"{url}/projects", ignore_https_errors=True, permissions=["clipboard-read", "clipboard-write"]
        )
        page.get_by_label("API key").fill(key)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(f"{url}/projects")
        (cookie,) = page.context.cookies()
        assert cookie["path"] == "/sessions"
        assert cookie["name"].startswith("__Secure-") == cookie["secure"] == (scheme == "https")

        page.get_by_role("link", name="Sessions", exact=True).click()
        expect(page.get_by_role("heading", name="Send the first datapoint")).to_be_visible()
        created = reader.log(project="p", session_reference_id="r", inputs={"q": "Hello?"}, output="Hi!")
        look_again(page)
        expect(page.get_by_role("rowheader")).to_have_text("Hello?")
        reader.log(project="p", session_reference_id="r2", inputs={"q": "Anybody?"})
        look_again(page)
        expect(page.get_by_role("rowheader").first).to_have_text("Anybody?")

        page.get_by_role("link", name="Hello?").click()
        page.wait_for_url(f"{url}/sessions/{created['session_id']}")
        page.get_by_role("button", name="Copy output").click()
        wait_for(page, "navigator.clipboard.readText()", "Hi!")
        reader.log(project="p", session_id=created["session_id"], inputs={"q": "More?"})
        look_again(page)
        page.get_by_role("button", name="This session has changed: show it").click()
        expect(page.get_by_text("More?").first).to_be_visible()
        # This shows that the scripts run: without them, a rating is a form that leads back to the page.
        expect(page.get_by_role("button", name="Copy output")).to_be_visible()
        page.get_by_role("button", name="Good").first.click()
        expect(page.get_by_role("status")).to_have_text("Rated good")

        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url(f"{url}/sign-in")
        assert page.context.cookies() == []
