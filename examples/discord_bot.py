"""A Discord bot with discord.py: one session for each channel or thread, a new one after ``!new``.

Needs the API (``hl-sessions serve``) and a Discord application with the message content intent; then, with
its DISCORD_BOT_TOKEN in the environment: ``python examples/discord_bot.py``
"""

import asyncio
import os
from typing import Any

import discord
import requests
from discord.ext import commands

from hl_sessions import configure, current_session, with_session
from hl_sessions.stores import SQLiteStore

API = os.environ.get("HL_SESSIONS_BASE_URL", "http://127.0.0.1:8642/v4")

intents = discord.Intents.default()
intents.message_content = True
bot = commands.Bot(command_prefix="!", intents=intents)
configure(store=SQLiteStore("discord_bot.sqlite3"))  # conversations outlive the process


def log(source: str, text: str, output: str) -> None:
    """Log a datapoint of whatever conversation this runs in; called in a thread, as it waits for the API."""
    session = current_session()
    params = {} if session is None else session.log_params()
    datapoint: dict[str, Any] = {
        "project": "discord-bot",
        "source": source,
        "inputs": {"text": text},
        "output": output,
    }
    requests.post(f"{API}/logs", json=datapoint | params, timeout=5).raise_for_status()


def conversation(source: discord.Message | commands.Context[commands.Bot]) -> str:
    """Give the key of a message or command: its channel, which a thread is, too."""
    return f"discord:{source.channel.id}"


@bot.listen("on_message")
@with_session(key=conversation)
async def answer(message: discord.Message) -> None:
    """Answer a message that is no command."""
    if message.author.bot or message.content.startswith("!"):
        return
    reply = f"You said: {message.content}"
    await message.channel.send(reply)
    await asyncio.to_thread(log, "answer", message.content, reply)


@bot.command(name="new")
@with_session(key=conversation)
async def start_anew(context: commands.Context[commands.Bot]) -> None:
    """Begin a new conversation with the next message."""
    session = current_session()
    if session is not None:
        session.end()
    await context.send("A new conversation begins with your next message.")


def main() -> None:
    """Answer until interrupted."""
    bot.run(os.environ["DISCORD_BOT_TOKEN"])


if __name__ == "__main__":
    main()
