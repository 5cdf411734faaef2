#!/usr/bin/env bash
#
# What an OTLP server rejects of an export is lost without a line of the log: OpenTelemetry's exporters report success.
#
# Expected: the answer has a field for it, `partial_success` with a number and a message; the exporter logs the message.
#
# Seen: with opentelemetry-exporter-otlp-proto-http and -grpc 1.45.2 a server that answers "1 rejected: over the quota"
# to spans, log records or metrics gets SUCCESS from `export`, and True from `force_flush`; nothing is logged, not even
# with DEBUG. The HTTP exporters do not read the body of a 200. OTLP's specification wants such exports not to be sent
# again.
#
# Why it hurts: a back end that is over its quota, or refuses spans that are too long or too old, says so in each
# answer, and nobody hears it: the traces of a part of the sessions are missing, and the application reports that all is
# well. Give the HTTP exporter a `requests.Session` with a hook for responses that reads the field, or watch the back
# end.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  opentelemetry-sdk==1.45.2 \
  opentelemetry-exporter-otlp-proto-http==1.45.2 opentelemetry-exporter-otlp-proto-grpc==1.45.2
"$folder/venv/bin/python" - <<'PYTHON'
import http.server
import io
import logging
import threading
from concurrent import futures
from importlib.metadata import version

import grpc
from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

QUOTA = "over the quota"
ANSWERS = {
    "/v1/traces": ExportTraceServiceResponse(partial_success={"rejected_spans": 1, "error_message": QUOTA}),
    "/v1/logs": ExportLogsServiceResponse(partial_success={"rejected_log_records": 1, "error_message": QUOTA}),
    "/v1/metrics": ExportMetricsServiceResponse(partial_success={"rejected_data_points": 1, "error_message": QUOTA}),
}


class Server(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        answer = ANSWERS[self.path].SerializeToString()
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
        rejected.append(self.path)

    def log_message(self, *arguments):
        pass


class GrpcServer(trace_service_pb2_grpc.TraceServiceServicer):
    def Export(self, request, context):
        rejected.append("gRPC")
        return ANSWERS["/v1/traces"]


def export_span(exporter):
    export = exporter.export
    exporter.export = lambda spans: results.append(export(spans).name)
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("chat").start_as_current_span("answer"):
        pass


rejected, results, log = [], [], io.StringIO()
logging.basicConfig(level=logging.DEBUG, stream=log)
logging.getLogger("urllib3").setLevel(logging.WARNING)
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
address = f"http://127.0.0.1:{server.server_port}"
grpc_server = grpc.server(futures.ThreadPoolExecutor())
trace_service_pb2_grpc.add_TraceServiceServicer_to_server(GrpcServer(), grpc_server)
grpc_port = grpc_server.add_insecure_port("127.0.0.1:0")
grpc_server.start()

export_span(OTLPSpanExporter(f"{address}/v1/traces"))
export_span(GrpcSpanExporter(f"127.0.0.1:{grpc_port}", insecure=True))
logs = LoggerProvider()
logs.add_log_record_processor(SimpleLogRecordProcessor(OTLPLogExporter(f"{address}/v1/logs")))
logs.get_logger("chat").emit(LogRecord(body="answered"))
metrics = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter(f"{address}/v1/metrics"))])
metrics.get_meter("chat").create_counter("answers").add(1)
results.append(metrics.force_flush())

print("opentelemetry-exporter-otlp-proto-http", version("opentelemetry-exporter-otlp-proto-http"), end=" ")
print("rejected:", rejected, "results:", results, "logged:", repr(log.getvalue()))
assert rejected == ["/v1/traces", "gRPC", "/v1/logs", "/v1/metrics"]
assert results == ["SUCCESS", "SUCCESS", True]
assert log.getvalue() == ""
PYTHON
