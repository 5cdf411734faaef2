"""A Django project in one file: the messages of a chat are one conversation, and so one session.

``python examples django_chat`` runs it with a server of sessions and a model that needs no network. It needs
``pip install 'hl-sessions[server,django]' openai``.
"""

import os
from typing import Any

from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpRequest, JsonResponse
from django.urls import path
from openai import OpenAI

from hl_sessions import configure, datapoint
from hl_sessions.integrations.django import path_param

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    HL_SESSIONS={"key": path_param("name")},
    MIDDLEWARE=["hl_sessions.integrations.django.HLSessionMiddleware"],  # the first
    ROOT_URLCONF=__name__,
)
configure(project="django-chat")
model = OpenAI()


def chat(request: HttpRequest, name: str) -> JsonResponse:
    """Answer a message of the chat that the path names."""
    messages: list[Any] = [{"role": "user", "content": request.GET["question"]}]
    with datapoint(source="answer", messages=messages) as answer:
        answer.output = reply = model.chat.completions.create(model="fake-model", messages=messages)
    return JsonResponse({"chat": name, "answer": reply.choices[0].message.content})


urlpatterns = [path("chats/<str:name>", chat)]

if __name__ == "__main__":
    port = os.environ.get("PORT", "8000")
    print(f"Ask, more than once: curl 'http://127.0.0.1:{port}/chats/alice?question=Why?'", flush=True)
    execute_from_command_line(["django_chat", "runserver", "--noreload", port])
