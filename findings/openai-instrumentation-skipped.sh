#!/usr/bin/env bash
#
# `opentelemetry-instrument` leaves OpenAI's client alone without a word: the newest instrumentation does not import.
#
# Expected: pip chooses versions that go together, or `opentelemetry-instrument` says that an installed instrumentation
# could not be loaded.
#
# Seen: opentelemetry-instrumentation-openai-v2 2.4b0 takes any opentelemetry-util-genai from 0.4b0 on, and pip
# installs 1.3b0, which has no `instruments` module. It also imports httpx, which openai 3.57.0 does not bring any
# more. Both are a ModuleNotFoundError, which `opentelemetry-instrument` takes for a client that is not installed, and
# logs at DEBUG (auto_instrumentation/_load.py). With httpx and util-genai 1.1b0 the client is instrumented.
#
# Why it hurts: the spans of the model are missing after an installation that was not pinned, and those of the web
# framework are there, so that the tracing seems to work.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"

cat > "$folder/run.py" <<'PYTHON'
import sys

from openai.resources.chat.completions import Completions

wrapped = hasattr(Completions.create, "__wrapped__") and "opentelemetry.instrumentation.openai_v2" in sys.modules
print("instrumented:", wrapped)
PYTHON
export OTEL_TRACES_EXPORTER=none OTEL_METRICS_EXPORTER=none OTEL_LOGS_EXPORTER=none

output_with() {
  "$folder/venv/bin/pip" install --quiet --disable-pip-version-check openai==3.57.0 opentelemetry-distro==0.66b2 \
    opentelemetry-instrumentation-openai-v2==2.4b0 "$@"
  "$folder/venv/bin/opentelemetry-instrument" "$folder/venv/bin/python" "$folder/run.py" 2>&1
}

for case in "no opentelemetry-util-genai==1.3b0" "no opentelemetry-util-genai==1.3b0 httpx==0.28.1" \
  "yes opentelemetry-util-genai==1.1b0 httpx==0.28.1"; do
  read -r -a words <<< "$case"
  output="$(output_with "${words[@]:1}")"
  echo "${words[*]:1}: $output"
  case "${words[0]}" in
    yes) test "$output" = "instrumented: True" ;;
    no) test "$output" = "instrumented: False" ;;
  esac
done
