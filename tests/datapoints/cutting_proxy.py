"""A proxy that loses answers: the server has done the request, and the caller gets no answer."""

import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests

from tests.waiting import PATIENCE


class CuttingProxy:
    """Hands calls on to a server, and hangs up instead of handing on every n-th answer."""

    def __init__(self, base_url: str, every: int) -> None:
        proxy = self
        self.every = every
        self.handed_on = 0
        self.cut = 0
        counted = iter(range(1, sys.maxsize))
        origin = base_url.removesuffix("/v4")

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def forward(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {
                    name: value
                    for name, value in self.headers.items()
                    if name in {"Content-Type", "Idempotency-Key"}
                }
                try:
                    answer = requests.request(
                        self.command, origin + self.path, data=body, headers=headers, timeout=PATIENCE
                    )
                except requests.RequestException:  # the server is dead
                    self.close_connection = True
                    return
                proxy.handed_on += 1
                if next(counted) % proxy.every == 0:
                    proxy.cut += 1
                    self.close_connection = True
                    return
                self.send_response(answer.status_code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

            do_POST = do_PATCH = forward  # noqa: N815 - names of http.server

            def log_message(self, *_: Any) -> None:
                """Not on the terminal."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.base_url = f"http://127.0.0.1:{self._server.server_address[1]}/v4"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
