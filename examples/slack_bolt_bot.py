"""A Slack bot with Bolt: one session for each conversation, a new one after ``/new``.

Needs ``pip install hl-sessions slack-bolt``, the API (``hl-sessions serve``) and a Slack app with the events
``message.channels`` and ``message.im``, the command ``/new`` and the scope ``chat:write``; then, with its
SLACK_BOT_TOKEN and SLACK_SIGNING_SECRET in the environment: ``python examples/slack_bolt_bot.py``
"""

import os
from contextlib import suppress
from typing import Any

from slack_bolt import Ack, App, Say

from hl_sessions import configure, datapoint, with_session
from hl_sessions.stores import SQLiteStore

app = App(token=os.environ["SLACK_BOT_TOKEN"], signing_secret=os.environ["SLACK_SIGNING_SECRET"])
store = SQLiteStore("slack_bolt_bot.sqlite3")  # conversations outlive the process
manager = configure(project="slack-bolt-bot", store=store)


def conversation(event: dict[str, Any], **_: Any) -> str:
    """Return the key of a message: its channel, or its thread. Bolt passes what a listener names."""
    thread = f":{event['thread_ts']}" if "thread_ts" in event else ""
    return f"slack:{event['channel']}{thread}"


@app.event("message")
@with_session(key=conversation)
def answer(event: dict[str, Any], say: Say) -> None:
    """Answer a message where it was written."""
    if "subtype" in event:  # somebody joined, edited, deleted, ...
        return
    with datapoint(source="answer", inputs={"text": event["text"]}) as reply:
        reply.output = f"You said: {event['text']}"
        say(reply.output, thread_ts=event.get("thread_ts"))


@app.command("/new")
def start_anew(ack: Ack, command: dict[str, Any]) -> None:
    """End the conversation of a channel; in threads, which are their own, Slack has no commands."""
    manager.end(conversation({"channel": command["channel_id"]}))
    ack("A new conversation begins with your next message.")


def main() -> None:
    """Serve http://localhost:3000/slack/events until interrupted."""
    with suppress(KeyboardInterrupt):
        app.start()


if __name__ == "__main__":
    main()
