#!/usr/bin/env bash
#
# A plus sign in a baggage value becomes a space on the way from ddtrace to OpenTelemetry, and a space a plus
# sign on the way back.
#
# Expected: both percent-encode what W3C baggage does not allow, and leave `+`, which it allows, as it is.
#
# Seen: ddtrace 4.16.0 does. opentelemetry-api 1.45.2 encodes and decodes as HTML forms do: quote_plus and
# unquote_plus in opentelemetry/baggage/propagation/__init__.py (its issue 5566).
#
# Why it hurts: a conversation's key that is a phone number (`+4930...` loses its plus), an address with a tag
# or base64 is another key after the hop, so that one conversation is two; nothing fails. IDs of
# `[A-Za-z0-9_-]` are safe.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet --disable-pip-version-check \
  ddtrace==4.16.0 opentelemetry-api==1.45.2
export DD_TRACE_ENABLED=false DD_INSTRUMENTATION_TELEMETRY_ENABLED=false
"$folder/environment/bin/python" - <<'PYTHON'
from importlib.metadata import version

from ddtrace.propagation.http import HTTPPropagator
from ddtrace.trace import Context
from opentelemetry import baggage
from opentelemetry.baggage.propagation import W3CBaggagePropagator

KEY = "conversation"


def datadog_sends(value):
    context, headers = Context(trace_id=1, span_id=2), {}
    context.set_baggage_item(KEY, value)
    HTTPPropagator.inject(context, headers)
    return headers["baggage"]


def datadog_reads(header):
    headers = {"baggage": header, "x-datadog-trace-id": "1", "x-datadog-parent-id": "2"}
    return HTTPPropagator.extract(headers).get_baggage_item(KEY)


def opentelemetry_sends(value):
    headers = {}
    W3CBaggagePropagator().inject(headers, context=baggage.set_baggage(KEY, value))
    return headers["baggage"]


def opentelemetry_reads(header):
    return baggage.get_baggage(KEY, W3CBaggagePropagator().extract({"baggage": header}))


print("ddtrace", version("ddtrace"), "opentelemetry-api", version("opentelemetry-api"))
there = datadog_sends("+4930123")
back = opentelemetry_sends("Ada Lovelace")
print(f"ddtrace sends {there!r}, OpenTelemetry reads {opentelemetry_reads(there)!r}")
print(f"OpenTelemetry sends {back!r}, ddtrace reads {datadog_reads(back)!r}")
assert (there, opentelemetry_reads(there)) == ("conversation=+4930123", "4930123")
assert (back, datadog_reads(back)) == ("conversation=Ada+Lovelace", "Ada+Lovelace")
assert datadog_reads(there) == "+4930123"
assert opentelemetry_reads("conversation=a+b") == "a b"
PYTHON
