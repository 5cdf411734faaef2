#!/usr/bin/env bash
#
# Phoenix takes OTLP over HTTP as protobuf only: the JSON that the protocol demands as well is answered with 415.
#
# Expected: `POST /v1/traces` of a server of OTLP/HTTP takes `application/json` beside `application/x-protobuf`, as the
# protocol demands of all servers, and as MLflow 3.17.2 does.
#
# Seen: with arize-phoenix 20.26.1 the same span is taken as protobuf (200), and refused as JSON with 415
# "Unsupported content type: application/json" (phoenix/server/api/routers/v1/traces.py).
#
# Why it hurts: files of OTLP's JSON, which the Collector's file exporter and exports of other platforms write, cannot be
# posted to it by curl; they need a program that turns them into protobuf first.
set -euo pipefail

folder="$(mktemp -d)"
trap 'kill "${server:-}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet --disable-pip-version-check arize-phoenix==20.26.1 opentelemetry-proto
export PHOENIX_WORKING_DIR="$folder" PHOENIX_HOST=127.0.0.1 PHOENIX_PORT=16006 PHOENIX_GRPC_PORT=16007
export PHOENIX_TELEMETRY_ENABLED=false
"$folder/environment/bin/phoenix" serve >"$folder/server.log" 2>&1 &
server=$!
"$folder/environment/bin/python" - <<'PYTHON'
import json
import time
from importlib.metadata import version
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

URL = "http://127.0.0.1:16006"
for _ in range(240):
    try:
        urlopen(URL + "/healthz").close()
        break
    except URLError:
        time.sleep(0.5)

span = {"name": "answer", "kind": 1, "startTimeUnixNano": "1764000000000000000", "endTimeUnixNano": "1764000001000000000"}


def request(trace_id, span_id):
    return {"resourceSpans": [{"scopeSpans": [{"spans": [{**span, "traceId": trace_id, "spanId": span_id}]}]}]}


def post(content_type, body):
    try:
        with urlopen(Request(URL + "/v1/traces", body, {"Content-Type": content_type})) as answer:
            return answer.status, ""
    except HTTPError as error:
        return error.code, error.read().decode()


# The JSON of OTLP has IDs in hexadecimal digits, that of protobuf in base64.
message = ParseDict(request("AAAAAAAAAAAAAAAAAAAAAQ==", "AAAAAAAAAAE="), ExportTraceServiceRequest())
as_protobuf = post("application/x-protobuf", message.SerializeToString())
as_json = post("application/json", json.dumps(request("0" * 31 + "1", "0" * 15 + "1")).encode())
print("arize-phoenix", version("arize-phoenix"))
print("protobuf:", *as_protobuf)
print("JSON:", *as_json)
raise SystemExit((as_protobuf[0], as_json[0]) != (200, 415))
PYTHON
