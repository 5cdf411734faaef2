#!/usr/bin/env bash
#
# A call that no mock matches is a ConnectionError of requests under responses, and under requests-mock an
# exception that `except requests.RequestException` lets through.
#
# Expected: the same under both. A double that has no answer plays a server that is not there, as most tests of
# "the API is down" assume.
#
# Seen: responses 0.26.3 raises requests.ConnectionError. In requests-mock 1.12.1 NoMockAddress is a
# MockException and nothing else: requests_mock/exceptions.py.
#
# Why it hurts: code that falls back when its API is down takes the fallback in the tests of one project and
# ends with an exception in those of the next. Libraries that promise never to raise do, in tests only.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet --disable-pip-version-check \
  requests==2.34.2 requests-mock==1.12.1 responses==0.26.3
"$folder/environment/bin/python" - <<'PYTHON'
from importlib.metadata import version

import requests
import requests_mock
import responses


def raised():
    try:
        requests.post("http://127.0.0.1:9/v4/sessions")
    except Exception as error:
        return error


for package in ("requests", "requests-mock", "responses"):
    print(package, version(package))
with responses.RequestsMock():
    by_responses = raised()
with requests_mock.Mocker():
    by_requests_mock = raised()
for name, error in (("responses", by_responses), ("requests-mock", by_requests_mock)):
    is_caught = isinstance(error, requests.RequestException)
    print(f"{name}: {type(error).__name__}, caught as requests.RequestException: {is_caught}")
assert isinstance(by_responses, requests.ConnectionError)
assert type(by_requests_mock).__name__ == "NoMockAddress"
assert not isinstance(by_requests_mock, (requests.RequestException, OSError))
PYTHON
