"""A Discord bot with discord.py: one session for each channel or thread, a new one after ``!new``.

Needs ``pip install hl-sessions discord.py``, the API (``hl-sessions serve``) and a Discord application with
the message content intent; then, with its DISCORD_BOT_TOKEN in the environment:
``python examples/discord_bot.py``
"""

import os

import discord
from discord.ext import commands

from hl_sessions import configure, current_session, datapoint, with_session
from hl_sessions.stores import SQLiteStore

intents = discord.Intents.default()
intents.message_content = True
bot = commands.Bot(command_prefix="!", intents=intents)
store = SQLiteStore("discord_bot.sqlite3")  # conversations outlive the process
configure(project="discord-bot", store=store)


def conversation(source: discord.Message | commands.Context[commands.Bot]) -> str:
    """Return the key of a message or command: its channel, which a thread is, too."""
    return f"discord:{source.channel.id}"


@bot.listen("on_message")
@with_session(key=conversation)
async def answer(message: discord.Message) -> None:
    """Answer a message that is no command."""
    if message.author.bot or message.content.startswith("!"):
        return
    with datapoint(source="answer", inputs={"text": message.content}) as reply:
        reply.output = f"You said: {message.content}"
        await message.channel.send(reply.output)


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
