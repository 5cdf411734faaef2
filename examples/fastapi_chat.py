"""A FastAPI application: the session as a dependency, and in a background task.

Needs the API (``hl-sessions serve``), then: ``fastapi run examples/fastapi_chat.py``, or
``uvicorn --app-dir examples fastapi_chat:app``, and: ``curl 'http://127.0.0.1:8000/chat?question=Why'``
"""

import os
from typing import Annotated, Any

import requests
from fastapi import BackgroundTasks, Depends, FastAPI

from hl_sessions import Session, current_session
from hl_sessions.integrations.starlette import HLSessionMiddleware, get_session

API = os.environ.get("HL_SESSIONS_BASE_URL", "http://127.0.0.1:8642/v4")

app = FastAPI()
app.add_middleware(HLSessionMiddleware)


def log(source: str, text: str, output: str) -> None:
    """Log a datapoint of whatever request this runs in; FastAPI calls it in a thread."""
    session = current_session()
    params = {} if session is None else session.log_params()
    datapoint: dict[str, Any] = {
        "project": "fastapi-chat",
        "source": source,
        "inputs": {"text": text},
        "output": output,
    }
    requests.post(f"{API}/logs", json=datapoint | params, timeout=5).raise_for_status()


@app.get("/chat")
async def chat(
    question: str, session: Annotated[Session, Depends(get_session)], background: BackgroundTasks
) -> dict[str, str | None]:
    """Answer at once, log afterwards."""
    reply = f"You asked: {question}"
    background.add_task(log, "answer", question, reply)
    return {"reply": reply, "session": await session.aid()}
