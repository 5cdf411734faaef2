"""What the load test serves: ``/NUMBER`` tells the session ID wherever a request may look for it.

In the body: in the handler, after waiting, in a thread, and in each of two streamed chunks, in words; in
the file ``HL_SESSIONS_TEST_REPORT``: in a background task, after the number of the request.
"""

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator

from flask import Flask, Response
from gevent.monkey import is_module_patched  # type: ignore[import-untyped]
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from hl_sessions import SessionThreadPoolExecutor, acurrent_session_id, bind, configure, current_session_id
from hl_sessions.integrations.flask import HLSessions
from hl_sessions.integrations.starlette import HLSessionMiddleware

configure(timeout=60)  # seconds, as the servers share few CPUs

# One write for each line, and at the end of the file wherever that is: for any number of processes.
report = os.open(os.environ["HL_SESSIONS_TEST_REPORT"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def read_in_background(number: int) -> None:
    os.write(report, f"{number} {current_session_id()}\n".encode())


async def aread_in_background(number: int) -> None:
    os.write(report, f"{number} {await acurrent_session_id()}\n".encode())


def chunks(seen: list[str]) -> Iterator[str]:
    yield " ".join([*seen, f"{current_session_id()} "])
    time.sleep(0)
    yield str(current_session_id())


async def achunks(seen: list[str]) -> AsyncIterator[str]:
    yield " ".join([*seen, f"{await acurrent_session_id()} "])
    await asyncio.sleep(0)
    yield str(await acurrent_session_id())


async def serve_async(request: Request) -> StreamingResponse:
    # By turns, each of the places is the first to read.
    number, seen = request.path_params["number"], []
    if number % 3 == 0:
        seen.append(str(await acurrent_session_id()))
    if number % 3 == 1:
        seen.append(str(await asyncio.to_thread(current_session_id)))
    both = await asyncio.gather(acurrent_session_id(), asyncio.to_thread(bind(current_session_id)))
    seen += [str(session_id) for session_id in both]
    await asyncio.sleep(0)
    seen.append(str(await acurrent_session_id()))
    background = BackgroundTask(read_in_background if number % 2 else aread_in_background, number)
    body = chunks(seen) if number % 4 == 1 else achunks(seen)
    return StreamingResponse(body, background=background)


asgi_application = Starlette(
    routes=[Route("/{number:int}", serve_async)], middleware=[Middleware(HLSessionMiddleware)]
)

wsgi_application = Flask(__name__)
HLSessions(wsgi_application)
executor = SessionThreadPoolExecutor(8)
is_gevent = is_module_patched("threading")


@wsgi_application.get("/<int:number>")
def serve(number: int) -> Response:
    seen = [str(current_session_id())] if number % 2 else []
    seen.append(str(executor.submit(current_session_id).result()))
    time.sleep(0)  # under gevent others go on here
    seen.append(str(current_session_id()))
    if not is_gevent:  # its greenlets share a thread, in which asyncio wants to be alone
        seen.append(str(asyncio.run(acurrent_session_id())))
    threading.Thread(target=bind(read_in_background), args=(number,)).start()
    return Response(chunks(seen))
