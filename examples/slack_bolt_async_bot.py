"""A Slack bot with asynchronous Bolt: one session for each conversation, a new one after a click.

Needs ``pip install hl-sessions slack-bolt aiohttp``, the API (``hl-sessions serve``) and a Slack app in
Socket Mode with the events ``message.channels`` and ``message.im`` and the scope ``chat:write``; then, with
its SLACK_BOT_TOKEN and SLACK_APP_TOKEN in the environment: ``python examples/slack_bolt_async_bot.py``
"""

import asyncio
import os
from contextlib import suppress
from typing import Any

from slack_bolt.adapter.socket_mode.async_handler import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncAck, AsyncApp, AsyncSay

from hl_sessions import configure, datapoint, with_session
from hl_sessions.stores import SQLiteStore

app = AsyncApp(token=os.environ["SLACK_BOT_TOKEN"])
store = SQLiteStore("slack_bolt_async_bot.sqlite3")  # conversations outlive the process
manager = configure(project="slack-bolt-async-bot", store=store)


def conversation(event: dict[str, Any], **_: Any) -> str:
    """Return the key of a message: its channel, or its thread. Bolt passes what a listener names."""
    thread = f":{event['thread_ts']}" if "thread_ts" in event else ""
    return f"slack:{event['channel']}{thread}"


@app.event("message")
@with_session(key=conversation)
async def answer(event: dict[str, Any], say: AsyncSay) -> None:
    """Answer a message where it was written, with a button that ends its conversation."""
    if "subtype" in event:  # somebody joined, edited, deleted, ...
        return
    button = {
        "type": "button",
        "action_id": "start_anew",
        "text": {"type": "plain_text", "text": "New conversation"},
        "value": conversation(event),
    }
    with datapoint(source="answer", inputs={"text": event["text"]}) as reply:
        reply.output = f"You said: {event['text']}"
        blocks: list[dict[str, Any]] = [
            {"type": "section", "text": {"type": "mrkdwn", "text": reply.output}},
            {"type": "actions", "elements": [button]},
        ]
        await say(reply.output, blocks, thread_ts=event.get("thread_ts"))


@app.action("start_anew")
async def start_anew(ack: AsyncAck, action: dict[str, Any], body: dict[str, Any], say: AsyncSay) -> None:
    """End the conversation that the button belongs to."""
    await ack()
    manager.end(action["value"])
    thread = body["message"].get("thread_ts")
    await say("A new conversation begins with your next message.", thread_ts=thread)


async def main() -> None:
    """Answer until interrupted."""
    await AsyncSocketModeHandler(app, os.environ["SLACK_APP_TOKEN"]).start_async()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
