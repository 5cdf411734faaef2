#!/usr/bin/env bash
#
# Installing niquests swaps the urllib3 below every other library of the environment.
#
# Expected: niquests 3.21.2 lives beside requests: requests keeps urllib3 2.8.0, and Sentry's tracing headers
# stay on its calls. Uninstalling niquests and its urllib3-future leaves things as before.
#
# Seen: from the next start of the interpreter `import urllib3` is urllib3-future (urllib3_future.pth copies
# its files over the package), while pip still lists urllib3 2.8.0 and `pip check` is content. Its connections
# do not pass through http.client, so what patches that sees nothing: sentry-sdk 2.75.0 sends neither
# `sentry-trace` nor its `baggage` with calls of requests any more. Header names change their case, too. After
# `pip uninstall niquests urllib3-future` the folder `urllib3` has no code left, and requests cannot be
# imported.
#
# Why it hurts: a trace, and a session that travels with it, ends at the first call, because of a package that
# some other dependency brought. Code that builds on the classes of urllib3 (pools with a total time limit)
# runs on another library. Its .pth file names a way to keep both apart, an installation from source with
# URLLIB3_NO_OVERRIDE=1; that was not tried.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
pip() { "$folder/environment/bin/pip" --quiet --disable-pip-version-check "$@"; }

cat > "$folder/call.py" <<'PYTHON'
import http.server
import threading
from importlib.metadata import version

import requests
import sentry_sdk
import urllib3


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        received.extend(name.lower() for name in self.headers.keys())
        self.send_response(204)
        self.end_headers()

    def log_message(self, *arguments):
        pass


received = []
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
sentry_sdk.init(dsn="http://key@127.0.0.1:1/1", traces_sample_rate=1.0, transport=lambda envelope: None)
with sentry_sdk.start_transaction(name="chat"):
    requests.get(f"http://127.0.0.1:{server.server_port}/", timeout=10)
print(
    f"pip says urllib3 {version('urllib3')}, the program imports {urllib3.__version__},"
    f" sentry-trace sent: {'sentry-trace' in received}"
)
PYTHON

pip install requests==2.32.5 urllib3==2.8.0 sentry-sdk==2.75.0
before="$("$folder/environment/bin/python" "$folder/call.py")"
pip install niquests==3.21.2 urllib3-future==2.25.904
after="$("$folder/environment/bin/python" "$folder/call.py")"
pip check
pip uninstall --yes niquests urllib3-future
uninstalled="$("$folder/environment/bin/python" -c 'import requests' 2>&1 | tail -n 1)" || true

printf 'without niquests: %s\nwith niquests:    %s\nuninstalled:      %s\n' "$before" "$after" "$uninstalled"
[[ "$before" == "pip says urllib3 2.8.0, the program imports 2.8.0, sentry-trace sent: True" ]]
[[ "$after" == "pip says urllib3 2.8.0, the program imports 2.25.904, sentry-trace sent: False" ]]
[[ "$uninstalled" == *Error* ]]
