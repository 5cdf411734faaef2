#!/usr/bin/env bash
#
# OpenTelemetry adds its headers to the list that Kafka's producer is given: one that is used again keeps the first.
#
# Expected: `produce(headers=HEADERS)` leaves HEADERS as it is. Each message has one `traceparent` and one `baggage`, of
# its own request, as a header that is there already is replaced.
#
# Seen: opentelemetry-instrumentation-confluent-kafka 0.66b1 appends both to the caller's list (`KafkaContextSetter` in
# confluent_kafka/utils.py), and a reader takes the first of a name: the third message has three of each, and all three
# are linked to the first request. Those for aiokafka and kafka-python append as well. A dict of headers is right.
#
# Why it hurts: with a constant such as `[("source", b"chat")]`, all messages of a process belong to the trace and the
# session of its first one, and each is longer than the one before. A message that is forwarded with `message.headers()`
# leaves out the service that forwards it. Hand on `list(HEADERS)`, and take the old `traceparent` and `baggage` out.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  confluent-kafka==2.16.1 opentelemetry-api==1.45.1 opentelemetry-sdk==1.45.1 \
  opentelemetry-instrumentation-confluent-kafka==0.66b1
"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import confluent_kafka
from opentelemetry import baggage, context, trace
from opentelemetry.instrumentation.confluent_kafka import ConfluentKafkaInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
ConfluentKafkaInstrumentor().instrument(tracer_provider=provider)
tracer = provider.get_tracer("application")


def exchange(kind):
    """Return the sessions in each message's headers, and the request to whose trace its receiver is linked."""
    exporter.clear()
    headers = kind([("source", b"chat")])
    producer = confluent_kafka.Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1})
    (broker,) = producer.list_topics(timeout=10).brokers.values()
    requests = []
    for number in (1, 2, 3):
        token = context.attach(baggage.set_baggage("session.id", f"session-{number}"))
        with tracer.start_as_current_span("request") as span:
            requests.append(span.get_span_context().trace_id)
            producer.produce("chat", b"message", headers=headers)
        context.detach(token)
        producer.flush(10)
    consumer = confluent_kafka.Consumer({
        "bootstrap.servers": f"{broker.host}:{broker.port}", "group.id": "group", "auto.offset.reset": "earliest",
    })
    consumer.subscribe(["chat"])
    messages = []
    while len(messages) < 3:
        message = consumer.poll(30)
        assert message is not None and message.error() is None
        messages.append(message)
    consumer.poll(0)
    consumer.close()
    sessions = [[value for name, value in message.headers() if name == "baggage"] for message in messages]
    received = [span for span in exporter.get_finished_spans() if span.kind == trace.SpanKind.CONSUMER and span.links]
    return sessions, [requests.index(span.links[0].context.trace_id) + 1 for span in received]


name = "opentelemetry-instrumentation-confluent-kafka"
in_list, in_dict = exchange(list), exchange(dict)
print(name, version(name), "the headers are a list, baggage of each message and the request it is linked to:", in_list)
print("the headers are a dict:", in_dict)
texts = [f"session.id=session-{number}".encode() for number in (1, 2, 3)]
assert in_list == ([texts[:1], texts[:2], texts], [1, 1, 1])
assert in_dict == ([[text] for text in texts], [1, 2, 3])
PYTHON
