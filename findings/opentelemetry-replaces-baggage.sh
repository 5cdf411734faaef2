#!/usr/bin/env bash
#
# OpenTelemetry's instrumentations of HTTP clients replace the `baggage` header that the caller has set.
#
# Expected: the header is a list, so the members of OpenTelemetry's baggage are added to those that are there.
#
# Seen: with the instrumentations 0.66b1 of urllib3, requests and httpx the caller's header arrives unchanged while
# OpenTelemetry's baggage is empty. With one member in it, only that arrives (opentelemetry/baggage/propagation,
# `inject`).
#
# Why it hurts: what was put there by hand arrives, until some middleware sets a member of its own. Nothing is logged.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check urllib3==2.8.0 requests==2.34.2 httpx==0.28.1 \
  opentelemetry-instrumentation-{urllib3,requests,httpx}==0.66b1

cat > "$folder/run.py" <<'PYTHON'
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import requests
import urllib3
from opentelemetry import baggage, context
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.instrumentation.urllib3 import URLLib3Instrumentor


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        arrived.append(self.headers.get_all("baggage"))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *arguments): ...


def call_all():
    for request in (urllib3.PoolManager().request, requests.request, httpx.request):
        request("GET", url, headers={"baggage": "session.id=chat-1"})


arrived = []
server = HTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}/"
for instrumentor in (URLLib3Instrumentor, RequestsInstrumentor, HTTPXClientInstrumentor):
    instrumentor().instrument()
call_all()
context.attach(baggage.set_baggage("tenant", "shop"))
call_all()
assert arrived == [["session.id=chat-1"]] * 3 + [["tenant=shop"]] * 3, arrived
print(arrived)
PYTHON
"$folder/venv/bin/python" "$folder/run.py"
