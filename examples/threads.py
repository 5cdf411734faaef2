"""Threads of your own: the session is taken along explicitly.

Needs the API (``hl-sessions serve``), then: ``python examples/threads.py``
"""

import threading

from hl_sessions import SessionThreadPoolExecutor, bind, current_session_id, log, with_session


def report(name: str) -> str:
    """Log from this thread, and say which session it works for."""
    log(project="threads", source=name)
    return f"{name}: {current_session_id()}"


@with_session
def research() -> list[str]:
    """Report from the calling thread, a pool and a plain thread: the session is the same."""
    lines = [report("caller")]
    with SessionThreadPoolExecutor(max_workers=2) as pool:
        lines += pool.map(report, ["pool 1", "pool 2"])
    thread = threading.Thread(target=bind(lambda: lines.append(report("thread"))))
    thread.start()
    thread.join()
    return lines


if __name__ == "__main__":
    print("\n".join(research()))
