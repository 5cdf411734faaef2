# Two commands do everything on a machine with Python 3.10 or later, make and a network:
#   make demo     sets up and runs the demo
#   make test     sets up and runs the tests
PYTHON ?= python3
PIP_VERSION := 26.3
EXTRAS := server,postgresql,starlette,fastapi,flask,httpx,signing,redis,celery,rq
# The tests start hundreds of interpreters, which would compile everything each time.
unexport PYTHONDONTWRITEBYTECODE
SIDE_BY_SIDE := --numprocesses=auto --dist=worksteal
VERSIONS := 3.10 3.11 3.12 3.13 3.14

.PHONY: demo test test-stress test-all lint types wheel bench screenshots constraints clean

demo: .venv/demo-is-ready
	.venv/bin/hl-sessions demo

test: .venv/test-is-ready
	.venv/bin/pytest $(SIDE_BY_SIDE)

# The suite, or FILES="tests/...", TIMES=n times in a row, beside a busy loop per core. A loop ends with the shell
# that began it, however that ends.
test-stress: .venv/test-is-ready
	@for core in $$(seq $$(getconf _NPROCESSORS_ONLN)); do \
	  while kill -0 $$$$; do :; done 2>/dev/null & \
	done; \
	for time in $$(seq $(or $(TIMES),1)); do \
	  .venv/bin/pytest $(SIDE_BY_SIDE) $(FILES) || exit; \
	done

# The pins: what is newest now and works on every supported Python.
constraints: .venv/pip-is-ready
	.venv/bin/pip install uv
	.venv/bin/uv pip compile --universal --python-version 3.10 --upgrade --no-header --no-annotate \
	  --all-extras --group test --group lint --group build --group benchmark pyproject.toml -o constraints.txt

# Every interpreter that is found, on the PATH or among those of pyenv; each in an environment of its own.
test-all: .venv/test-is-ready
	@set -e; for version in $(VERSIONS); do \
	  for python in python$$version "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/$$version*/bin/python$$version; do \
	    if "$$python" -c "" 2>/dev/null; then \
	      echo "=== Python $$version"; \
	      .venv/bin/uv venv --quiet --clear --python "$$python" .venv-$$version; \
	      .venv/bin/uv pip install --python .venv-$$version -c constraints.txt --build-constraints constraints.txt -e ".[$(EXTRAS)]" --group test --group build; \
	      .venv-$$version/bin/pytest $(SIDE_BY_SIDE); \
	      break; \
	    fi; \
	  done; \
	done

lint: .venv/test-is-ready
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/lint-imports

types: .venv/test-is-ready
	.venv/bin/mypy

# What is published, not what lies in the checkout: the wheel, built through the sdist, passes the tests
# from another folder.
wheel: .venv/test-is-ready
	rm -rf dist .venv-wheel
	.venv/bin/uv build --build-constraint constraints.txt
	.venv/bin/uv venv --quiet --python .venv/bin/python .venv-wheel
	.venv/bin/uv pip install --python .venv-wheel -c constraints.txt --group test --group build \
	  "$$(echo dist/*.whl)[$(EXTRAS)]"
	cd "$$(mktemp -d)" && "$(CURDIR)/.venv-wheel/bin/pytest" $(SIDE_BY_SIDE) "$(CURDIR)/tests"

bench: .venv/test-is-ready
	.venv/bin/uv pip install --python .venv -c constraints.txt --group benchmark
	.venv/bin/python -m benchmarks

screenshots: .venv/test-is-ready
	.venv/bin/python docs/screenshots.py

clean:
	rm -rf .venv* build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

.venv/pip-is-ready:
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 10) and 'Python 3.10 or later is needed: make PYTHON=...')"
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --disable-pip-version-check pip==$(PIP_VERSION)
	touch $@

.venv/demo-is-ready: .venv/pip-is-ready pyproject.toml constraints.txt
	.venv/bin/pip install -c constraints.txt --build-constraint constraints.txt -e ".[server,starlette]"
	touch $@

.venv/test-is-ready: .venv/pip-is-ready pyproject.toml constraints.txt
	.venv/bin/pip install -c constraints.txt --build-constraint constraints.txt -e ".[$(EXTRAS)]" --group test --group lint --group build
	touch $@
