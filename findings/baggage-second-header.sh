#!/usr/bin/env bash
#
# A session in `baggage` is lost between Sentry on the caller and OpenTelemetry on an ASGI server.
#
# Expected: Sentry adds its members to the `baggage` header that a call has already, as it does for httpx and
# aiohttp, and OpenTelemetry reads all `baggage` headers of a request: HTTP lets a list header be split.
#
# Seen: for whatever calls through http.client (requests, urllib3, urllib), sentry-sdk 2.75.0 writes a second
# `baggage` header before the caller's own (sentry_sdk/integrations/stdlib.py, putrequest). OpenTelemetry's
# propagator takes the first header only (opentelemetry/baggage/propagation/__init__.py,
# _extract_first_element, opentelemetry-api 1.45.2), and under ASGI the two stay apart. Under WSGI the server
# joins them, and all members are read.
#
# Why it hurts: `baggage: session.id=...` arrives, is in the access log, and is not in OpenTelemetry's
# baggage; the same application behind a WSGI server has it. Read all headers of the name, or merge them
# before the call.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet --disable-pip-version-check \
  requests==2.32.5 urllib3==2.8.0 httpx==0.28.1 sentry-sdk==2.75.0 opentelemetry-api==1.45.2 \
  opentelemetry-instrumentation-asgi==0.66b2 opentelemetry-instrumentation-wsgi==0.66b2
"$folder/environment/bin/python" - <<'PYTHON'
import http.server
import threading
from importlib.metadata import version

import httpx
import requests
import sentry_sdk
from opentelemetry import baggage
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.instrumentation.asgi import asgi_getter
from opentelemetry.instrumentation.wsgi import wsgi_getter


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        received[:] = self.headers.get_all("baggage")
        self.send_response(204)
        self.end_headers()

    def log_message(self, *arguments):
        pass


received = []
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}/"
sentry_sdk.init(dsn="http://key@127.0.0.1:1/1", traces_sample_rate=1.0, transport=lambda envelope: None)
propagator = W3CBaggagePropagator()
print("sentry-sdk", version("sentry-sdk"), "opentelemetry-api", version("opentelemetry-api"))


def call(get):
    """How many headers arrived, and the session that OpenTelemetry finds there under ASGI and WSGI."""
    with sentry_sdk.start_transaction(name="chat"):
        get(url, headers={"baggage": "session.id=sesh_1"})
    scope = {"headers": [(b"baggage", header.encode()) for header in received]}
    environ = {"HTTP_BAGGAGE": ",".join(received)}
    found = [
        baggage.get_all(propagator.extract(carrier, getter=getter)).get("session.id")
        for carrier, getter in ((scope, asgi_getter), (environ, wsgi_getter))
    ]
    print(f"{get.__module__}: headers {len(received)}, session under ASGI {found[0]}, under WSGI {found[1]}")
    return len(received), *found


assert call(httpx.get) == (1, "sesh_1", "sesh_1")
assert call(requests.get) == (2, None, "sesh_1")
PYTHON
