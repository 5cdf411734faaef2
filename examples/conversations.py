"""A bot: one session for each conversation, a new one on request.

Needs the API (``hl-sessions serve``), then: ``python examples/conversations.py``
"""

from hl_sessions import current_session, current_session_id, datapoint, with_session


@with_session(key="chat")
@datapoint(project="conversations", source="answer")  # of the session of the chat
def answer(chat: int, text: str) -> str:
    """Answer a message of a chat, and say which session it belongs to."""
    session = current_session()
    if text == "/new" and session is not None:
        session.end()
        return f"chat {chat}: a new conversation begins with the next message"
    return f"chat {chat}: {text!r} belongs to {current_session_id()}"


if __name__ == "__main__":
    for chat, text in ((1, "Hello"), (2, "Hi"), (1, "Why?"), (1, "/new"), (1, "Hello again")):
        print(answer(chat, text))
