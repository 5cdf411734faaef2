"""A FastAPI application: the session as a dependency, and datapoints of an endpoint and its background task.

Needs the API (``hl-sessions serve``), then: ``fastapi run examples/fastapi_chat.py``, or
``uvicorn --app-dir examples fastapi_chat:app``, and: ``curl 'http://127.0.0.1:8000/chat?question=Why'``
"""

from typing import Annotated

from fastapi import BackgroundTasks, Depends, FastAPI

from hl_sessions import Session, configure, datapoint, log
from hl_sessions.integrations.starlette import HLSessionMiddleware, get_session

configure(project="fastapi-chat")
app = FastAPI()
app.add_middleware(HLSessionMiddleware)


@app.get("/chat")
async def chat(
    question: str, session: Annotated[Session, Depends(get_session)], background: BackgroundTasks
) -> dict[str, str | None]:
    """Answer, and say which session it belongs to; the answer is judged when it has been sent."""
    with datapoint(source="answer", inputs={"question": question}) as answer:
        answer.output = f"You asked: {question}"
    background.add_task(judge, answer.output)
    return {"reply": answer.output, "session": await session.aid()}


def judge(reply: str) -> None:
    """Judge a reply; FastAPI calls it in a thread, which has the session, too."""
    log(source="judgment", inputs={"reply": reply}, output="polite")
