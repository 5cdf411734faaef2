"""Takes the pictures that the documentation shows: ``python docs/screenshots.py``.

Needs playwright and a Chromium; ``CHROMIUM`` names one that is not at ``/usr/bin/chromium``.
"""

import os
import random
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from socket import create_server
from typing import Any, Final

import requests
from playwright.sync_api import Browser, Page, expect, sync_playwright
from sqlalchemy import func, select, update

from hl_sessions.demo.running import running_demo
from hl_sessions.server.database.database import Database
from hl_sessions.server.database.tables import logs, sessions
from hl_sessions.server.run.serving import serving_in_background
from hl_sessions.server.settings import ServerSettings

FOLDER: Final = Path(__file__).parent

DESKTOP: Final = {"width": 1280, "height": 800}
LOW: Final = {"width": 1280, "height": 560}
TALL: Final = {"width": 1280, "height": 1080}
PHONE: Final = {"width": 390, "height": 844}

CHATS: Final = (
    (
        "shop assistant",
        "Where is my order 4711?",
        "It left our warehouse **yesterday** and arrives on *Thursday*, before noon.",
    ),
    (
        "shop assistant",
        "Can I return shoes that I have worn once?",
        "Yes, within 30 days, as long as you wore them **indoors** only.",
    ),
    (
        "shop assistant",
        "Do you ship to Norway?",
        "We do, in 3 to 5 days:\n\n| Weight | Price |\n|---|---|\n| 2 kg | 9 € |\n| 10 kg | 19 € |",
    ),
    (
        "reports",
        "Revenue by month of the last half year, as SQL",
        """```sql
SELECT date_trunc('month', paid_at) AS month, sum(amount) AS revenue
FROM payments
WHERE paid_at >= now() - interval '6 months'
GROUP BY month
ORDER BY month;
```

Refunds are rows with a *negative* amount, so they are taken off already.""",
    ),
    ("reports", "How many customers bought twice?", "412 of 3,080, which is **13 %**."),
    ("translator", "To German: The early bird catches the worm.", "Morgenstund hat Gold im Mund."),
)


def take_screenshots() -> None:
    """Fill a server and a demo, and keep what their pages look like then."""
    os.environ["no_proxy"] = "127.0.0.1"
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as directory:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        _take_those_of_the_page(browser, Path(directory))
        _take_that_of_an_example(browser, Path(directory))
        _take_that_of_the_demo(browser)
        browser.close()


def _take_those_of_the_page(browser: Browser, directory: Path) -> None:
    with _server(directory / "empty.sqlite3") as url:
        _take(browser, f"{url}/", "page-empty", DESKTOP)
    with _server(directory / "locked.sqlite3", api_key="any") as url:
        _take(browser, f"{url}/", "page-sign-in", LOW)
    path = directory / "filled.sqlite3"
    with _server(path) as url:
        session_id = _fill(f"{url}/v4", path)
        _take(browser, f"{url}/", "page-sessions", DESKTOP)
        _take(browser, f"{url}/", "page-sessions-dark", DESKTOP, "dark")
        _take(browser, f"{url}/", "page-phone", PHONE)
        _take(browser, f"{url}/sessions/{session_id}", "page-conversation", DESKTOP)
        _take(browser, f"{url}/sessions/{session_id}?view=timeline", "page-timeline", LOW)
        _take(browser, f"{url}/activity?window=7d", "page-activity", DESKTOP, "dark")
        _take(browser, f"{url}/activity?q=order", "page-sums", TALL)
        _take(browser, f"{url}/", "page-jump", LOW, keys="Control+k")
        _take(browser, f"{url}/judging", "page-judging", LOW)
        answer_id = _give_feedback(f"{url}/v4")
        _take(browser, f"{url}/datapoints/{answer_id}", "page-feedback", LOW, "dark")
        reply_id = _log_two_replies(f"{url}/v4")
        _take(browser, f"{url}/datapoints/{reply_id}/compare", "page-compare", LOW)


@contextmanager
def _server(path: Path, api_key: str | None = None) -> Iterator[str]:
    settings = ServerSettings(port=0, database=str(path), api_key=api_key)
    with serving_in_background(settings) as base_url:
        yield base_url.removesuffix("/v4")


def _take(
    browser: Browser,
    address: str,
    name: str,
    size: dict[str, int],
    scheme: Any = "light",
    *,
    keys: str | None = None,
) -> None:
    page = browser.new_page(
        viewport=size,  # type: ignore[arg-type]
        color_scheme=scheme,
        locale="en-GB",
        timezone_id="UTC",
    )
    page.goto(address)
    if keys is not None:
        page.keyboard.press(keys)
        page.wait_for_load_state("networkidle")
    page.screenshot(path=FOLDER / f"{name}.png", animations="disabled")
    page.close()


def _fill(base_url: str, path: Path) -> str:
    """Log a week of three projects; gives the ID of the session that is shown from within."""
    now = datetime.now(timezone.utc)
    choose = random.Random(7)  # noqa: S311 - the same pictures every time
    begins = sorted(now - timedelta(days=7) * choose.random() ** 1.3 for _ in range(260))
    for number, begin in enumerate(begins):
        _log_chat(base_url, choose, f"chat-{number}", begin)
    shown = _log_agent(base_url, now - timedelta(seconds=42))
    _date_sessions(path)
    return shown


def _log(base_url: str, **datapoint: Any) -> Any:
    return _call("POST", f"{base_url}/logs", datapoint)


def _call(method: str, url: str, body: Any) -> Any:
    answer = requests.request(method, url, json=body, timeout=10)
    answer.raise_for_status()
    return answer.json()


def _log_chat(base_url: str, choose: random.Random, reference_id: str, begin: datetime) -> None:
    project, question, reply = choose.choice(CHATS)
    is_failed = choose.random() < 0.06  # noqa: PLR2004
    for turn in range(choose.choice((1, 1, 1, 2, 3))):
        is_last_failed = is_failed and turn == 0
        _log(
            base_url,
            project=project,
            session_reference_id=reference_id,
            source="answer",
            inputs={"question": question},
            output=None if is_last_failed else reply,
            error="Timeout: the model did not answer within 20 s" if is_last_failed else None,
            created_at=(begin + timedelta(seconds=70 * turn)).isoformat(),
            duration=20 if is_last_failed else choose.lognormvariate(0.3, 0.5),
        )


def _log_agent(base_url: str, begin: datetime) -> str:
    question = "My order 4711 came without the charger. What now?"
    messages = [
        {"role": "system", "content": "You are the assistant of a shop. Be brief and kind."},
        {"role": "user", "content": question},
    ]
    reply = (
        "Sorry about that! I have **sent a charger** to your address, at no cost:\n\n"
        "1. It leaves our warehouse today\n2. It arrives on Thursday\n\nYou need not return anything."
    )

    def log(name: str, second: float, duration: float, **fields: Any) -> Any:
        created_at = (begin + timedelta(seconds=second)).isoformat()
        shared = {"project": "shop assistant", "session_reference_id": "ticket-2041", "source": name}
        return _log(base_url, **shared, created_at=created_at, duration=duration, **fields)

    model = {"type": "model", "model": "large-1"}
    tokens = {"prompt_tokens": 812, "output_tokens": 74, "prompt_cost": 0.0041, "output_cost": 0.0011}
    agent = log("agent", 0, 4.6, inputs={"question": question}, output=reply, config=model, **tokens)
    inside = {"parent_id": agent["id"]}
    log("moderation", 0.05, 0.22, output="allowed", **inside)
    search = log("search orders", 0.3, 0.9, inputs={"order": 4711, "fields": ["items", "address"]}, **inside)
    stock = {"parent_id": search["id"]}
    log("read stock", 0.35, 0.4, error="ConnectionError: stock service, first attempt", **stock)
    log("read stock", 0.8, 0.35, output="17 chargers", **stock)
    log("create shipment", 1.3, 1.1, output="shipment 90210", metadata={"carrier": "post"}, **inside)
    log("write reply", 2.5, 2.0, messages=messages, output=reply, config=model, **tokens, **inside)
    praise = {"type": "rating", "value": "good", "user": "customer"}
    thanks = {"question": "Great, thank you!"}
    shown = log("agent", 31, 0.8, inputs=thanks, output="You are welcome!", config=model, feedback=praise)
    session_id: str = shown["session_id"]
    return session_id


def _give_feedback(base_url: str) -> str:
    """Define types of feedback, and give some of each on an answer; gives the ID of that."""
    shared: dict[str, Any] = {"project": "shop assistant", "session_reference_id": "ticket-2042"}
    reply = "It left our warehouse **yesterday** and arrives on *Thursday*, before noon."
    question = {"question": "Where is my order 4711?"}
    answer = _log(base_url, **shared, source="answer", inputs=question, output=reply, duration=1.2)
    tones = [{"value": "friendly"}, {"value": "formal"}, {"value": "curt", "sentiment": "negative"}]
    types = [{"type": "tone", "values": tones}, {"type": "score", "kind": "number"}, {"type": "correction"}]
    _call("PATCH", f"{base_url}/projects/{answer['project_id']}", {"feedback_types": types})
    given = {"rating": "good", "tone": "friendly", "score": 0.9, "note": "It could name the carrier."}
    for kind, value in given.items():
        feedback = {"data_id": answer["id"], "type": kind, "value": value, "user": "reviewer"}
        _call("POST", f"{base_url}/feedback", feedback)
    log_id: str = answer["id"]
    return log_id


def _log_two_replies(base_url: str) -> str:
    """Log the same question twice, to two models; gives the ID of the second datapoint."""
    question = "Can I return shoes that I have worn once?"
    shared: dict[str, Any] = {"project": "shop assistant", "session_reference_id": "trial"}
    shared |= {"source": "write reply", "inputs": {"question": question}}
    shared["metadata"] = {"policy": {"days": 30, "worn": "indoors"}}
    for model, tokens, reply in (
        ("large-1", 41, "Yes, within 30 days, as long as you wore them **indoors** only."),
        ("small-2", 35, "Yes, within 14 days, as long as you wore them **indoors** only. Anything else?"),
    ):
        config = {"type": "model", "model": model, "temperature": 0.2}
        answer = _log(
            base_url, **shared, config=config, output=reply, output_tokens=tokens, duration=tokens / 40
        )
    log_id: str = answer["id"]
    return log_id


def _date_sessions(path: Path) -> None:
    """Let each session have begun with its first datapoint, and not just now."""
    first = select(func.min(logs.c.created_at)).where(logs.c.session_id == sessions.c.id).scalar_subquery()
    database = Database.open(ServerSettings(database=str(path)).database_url)
    database.write_now(lambda connection: connection.execute(update(sessions).values(created_at=first)))
    database.close()


def _take_that_of_an_example(browser: Browser, directory: Path) -> None:
    with _server(directory / "example.sqlite3") as url:
        _ask_an_example(f"{url}/v4")
        (session,) = requests.get(f"{url}/v4/sessions", timeout=10).json()["records"]
        _take(browser, f"{url}/sessions/{session['id']}", "page-example", DESKTOP)


def _ask_an_example(base_url: str) -> None:
    """Ask the question that it prints; what it logs has come when it has ended."""
    example = subprocess.Popen(  # noqa: S603 - our own
        [sys.executable, FOLDER.parent / "examples", "fastapi_chat"],
        env=os.environ | {"HL_SESSIONS_BASE_URL": base_url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    printed = iter(example.stdout or [])
    question = next(found[1] for line in printed if (found := re.search(r"curl -N '(.*)'", line)))
    next(line for line in printed if "running on" in line)
    requests.get(question, timeout=10).raise_for_status()
    os.killpg(example.pid, signal.SIGINT)
    example.communicate()


def _take_that_of_the_demo(browser: Browser) -> None:
    with (
        create_server(("127.0.0.1", 0)) as chat,
        create_server(("127.0.0.1", 0)) as api,
        running_demo(chat, api, database=None, seconds_per_word=0.01),
    ):
        page = browser.new_page(viewport=DESKTOP, color_scheme="light", locale="en-GB", timezone_id="UTC")  # type: ignore[arg-type]
        page.goto(f"http://127.0.0.1:{chat.getsockname()[1]}/")
        _chat_on(page)
        page.screenshot(path=FOLDER / "demo.png", animations="disabled")
        page.close()


def _chat_on(page: Page) -> None:
    examples = page.get_by_role("group", name="Example questions").get_by_role("button")
    for count, example in enumerate(examples.all(), 1):
        example.click()
        expect(page.get_by_title("Show this session in the list")).to_have_count(count)
    expect(page.locator(".datapoint:not(.is-pending)")).to_have_count(9)
    # Nothing is to look focused, or as if the mouse were over it.
    page.mouse.move(0, 0)


if __name__ == "__main__":
    take_screenshots()
