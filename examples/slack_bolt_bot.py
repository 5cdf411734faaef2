"""A Slack bot with Bolt: one session for each conversation, a new one after ``/new``.

Needs the API (``hl-sessions serve``) and a Slack app with the events ``message.channels`` and
``message.im``, the command ``/new`` and the scope ``chat:write``; then, with its SLACK_BOT_TOKEN and
SLACK_SIGNING_SECRET in the environment: ``python examples/slack_bolt_bot.py``
"""

import os
from typing import Any

import requests
from slack_bolt import Ack, App, Say

from hl_sessions import configure, current_session, with_session
from hl_sessions.stores import SQLiteStore

API = os.environ.get("HL_SESSIONS_BASE_URL", "http://127.0.0.1:8642/v4")

app = App(token=os.environ["SLACK_BOT_TOKEN"], signing_secret=os.environ["SLACK_SIGNING_SECRET"])
manager = configure(store=SQLiteStore("slack_bolt_bot.sqlite3"))  # conversations outlive the process


def log(source: str, text: str, output: str) -> None:
    """Log a datapoint of whatever conversation this runs in."""
    session = current_session()
    params = {} if session is None else session.log_params()
    datapoint: dict[str, Any] = {
        "project": "slack-bolt-bot",
        "source": source,
        "inputs": {"text": text},
        "output": output,
    }
    requests.post(f"{API}/logs", json=datapoint | params, timeout=5).raise_for_status()


def conversation(event: dict[str, Any], **_: Any) -> str:
    """Give the key of a message: its channel, or its thread. Bolt passes what a listener names."""
    thread = f":{event['thread_ts']}" if "thread_ts" in event else ""
    return f"slack:{event['channel']}{thread}"


@app.event("message")
@with_session(key=conversation)
def answer(event: dict[str, Any], say: Say) -> None:
    """Answer a message where it was written."""
    if "subtype" in event:  # somebody joined, edited, deleted, ...
        return
    reply = f"You said: {event['text']}"
    say(reply, thread_ts=event.get("thread_ts"))
    log("answer", event["text"], reply)


@app.command("/new")
def start_anew(ack: Ack, command: dict[str, Any]) -> None:
    """End the conversation of a channel; in threads, which are their own, Slack has no commands."""
    manager.end(conversation({"channel": command["channel_id"]}))
    ack("A new conversation begins with your next message.")


def main() -> None:
    """Serve http://localhost:3000/slack/events until interrupted."""
    app.start()


if __name__ == "__main__":
    main()
