"""A Telegram bot with python-telegram-bot: one session for each chat, a new one after ``/new``.

Needs ``pip install hl-sessions python-telegram-bot`` and the API (``hl-sessions serve``); then, with
TELEGRAM_BOT_TOKEN in the environment: ``python examples/telegram_bot.py``
"""

import os
from typing import Any

from telegram import Update
from telegram.ext import Application, CommandHandler, ContextTypes, MessageHandler, filters

from hl_sessions import configure, current_session, datapoint, with_session
from hl_sessions.stores import SQLiteStore

store = SQLiteStore("telegram_bot.sqlite3")  # conversations outlive the process
configure(project="telegram-bot", store=store)


def conversation(update: Update, _context: ContextTypes.DEFAULT_TYPE) -> str | None:
    """Return the key of an update: its chat."""
    chat = update.effective_chat
    return None if chat is None else f"telegram:{chat.id}"


@with_session(key=conversation)
async def answer(update: Update, _context: ContextTypes.DEFAULT_TYPE) -> None:
    """Answer a message."""
    message = update.effective_message
    if message is None or message.text is None:
        return
    with datapoint(source="answer", inputs={"text": message.text}) as reply:
        reply.output = f"You said: {message.text}"
        await message.reply_text(reply.output)


@with_session(key=conversation)
async def start_anew(update: Update, _context: ContextTypes.DEFAULT_TYPE) -> None:
    """End the conversation of the chat."""
    session = current_session()
    if session is not None:
        session.end()
    if update.effective_message is not None:
        await update.effective_message.reply_text("A new conversation begins with your next message.")


def add_handlers(application: Application[Any, Any, Any, Any, Any, Any]) -> None:
    """Tell an application what to do with which update."""
    application.add_handler(CommandHandler("new", start_anew))
    application.add_handler(MessageHandler(filters.TEXT & ~filters.COMMAND, answer))


def main() -> None:
    """Poll Telegram until interrupted."""
    application = Application.builder().token(os.environ["TELEGRAM_BOT_TOKEN"]).build()
    add_handlers(application)
    application.run_polling()


if __name__ == "__main__":
    main()
