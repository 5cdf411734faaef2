"""An application that logs from many threads: ``python logging_application.py BASE_URL PROJECT NAME``.

Each line of its input is a round: a number of sessions for each thread, with ten datapoints each. At the end
of its input it waits until all is sent, and says whether it is.
"""

import sys
from concurrent.futures import ThreadPoolExecutor

from hl_sessions import SessionManager

THREADS = 16


def main(base_url: str, project: str, name: str) -> None:
    manager = SessionManager(base_url, project=project, timeout=10.0)

    def log_session(place: str) -> None:
        metadata = {"place": place}
        with manager.session(), manager.datapoint(source=f"{place} parent", metadata=metadata) as parent:
            for child in range(9):
                manager.log(source=f"{place} {child}", metadata=metadata, output="x" * 200)
            parent.output = place

    def log_sessions(thread: int, number: int, sessions: int) -> None:
        for session in range(sessions):
            log_session(f"{name} {thread} {number} {session}")

    with ThreadPoolExecutor(THREADS) as threads:
        for number, line in enumerate(sys.stdin):
            rounds = [threads.submit(log_sessions, thread, number, int(line)) for thread in range(THREADS)]
            for each in rounds:
                each.result()
            sys.stdout.write("logged\n")
    sys.stdout.write(f"{manager.flush(timeout=100.0)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
