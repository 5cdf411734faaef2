"""A Gradio chat: each open page is a conversation, and so one session, with an answer that a model streams.

``python examples gradio_chat`` runs it with a server of sessions and a model that needs no network. It needs
``pip install 'hl-sessions[server,gradio]' openai``.
"""

from collections.abc import Iterator
from typing import Any

import gradio as gr
from openai import OpenAI

from hl_sessions import configure, datapoint, with_session
from hl_sessions.integrations.gradio import connect

configure(project="gradio-chat")
model = OpenAI()


@with_session(key=lambda message, history, request: request.session_hash)
def chat(message: str, history: list[dict[str, Any]], request: gr.Request) -> Iterator[str]:
    """Yield the answer as far as it has come; Gradio finds the history and the request by their names."""
    turns = [{"role": turn["role"], "content": turn["content"]} for turn in history]
    messages: list[Any] = [*turns, {"role": "user", "content": message}]
    text = ""
    with datapoint(source="answer", messages=messages) as answer:
        for chunk in model.chat.completions.create(
            model="fake-model", messages=messages, stream=True, stream_options={"include_usage": True}
        ):
            answer.add_output(chunk)  # the text, and at the end the tokens
            text += "".join(choice.delta.content or "" for choice in chunk.choices)
            yield text


demo = connect(gr.ChatInterface(chat, api_name="chat"))

if __name__ == "__main__":
    demo.launch()
