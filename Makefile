# `make help` shows the text beside each target. Each sets up what it needs, on a machine with Python 3.10 or later,
# make and a network.
PYTHON ?= python3
PIP_VERSION := 26.3
EXTRAS := server,postgresql,starlette,fastapi,flask,httpx,signing,redis,celery,rq
# Of free-threaded Pythons and of PyPy, for which not all packages are made.
CORE_EXTRAS := starlette,flask,httpx,signing,redis,celery,rq
PYPY_EXTRAS := server,fastapi,$(CORE_EXTRAS)
COMMA := ,
# The tests start hundreds of interpreters, which would compile everything each time.
unexport PYTHONDONTWRITEBYTECODE
SIDE_BY_SIDE := --numprocesses=auto --dist=worksteal
# Those with a "t" are free-threaded.
VERSIONS := 3.10 3.11 3.12 3.13 3.13t 3.14 3.14t 3.15 3.15t pypy3.11

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-all test-core test-stress test-crossings crossings-newest pythons accessibility free-threaded coverage wheel test-wheel release-check lint types bench docs docs-picture screenshots constraints clean .venv-wheel

help: ## Show these lines
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-17s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/demo-is-ready ## Set up, and run the demo
	.venv/bin/hl-sessions demo

test: .venv/test-is-ready ## Set up, and run the tests
	.venv/bin/pytest $(SIDE_BY_SIDE) -m "not slow"

test-slow: .venv/test-is-ready ## Run the tests that 'make test' leaves out
	.venv/bin/pytest $(SIDE_BY_SIDE) -m slow

# The suite, or FILES="tests/...", TIMES=n times in a row, beside a busy loop per core. A loop ends with the shell
# that began it, however that ends.
test-stress: .venv/test-is-ready ## Run the tests, or FILES=..., TIMES=n times beside a busy loop per core
	@for core in $$(seq $$(getconf _NPROCESSORS_ONLN)); do \
	  while kill -0 $$$$; do :; done 2>/dev/null & \
	done; \
	for time in $$(seq $(or $(TIMES),1)); do \
	  .venv/bin/pytest $(SIDE_BY_SIDE) $(FILES) || exit; \
	done

test-all: .venv/test-is-ready ## Run the tests on every supported Python that is found
	@set -e; for version in $(VERSIONS); do .ci/test-on $$version all; done

test-core: .venv/test-is-ready ## Run the core's tests on every supported Python that is found
	@set -e; for version in $(VERSIONS); do .ci/test-on $$version core; done

# Each file of crossings/ in an environment of its own, in .venv-crossings/.
test-crossings: .venv/test-is-ready ## Run what the guide says of other libraries, on pinned releases; or FILES="mcp_1 ..."
	.venv/bin/python -m crossings $(FILES)

crossings-newest: .venv/test-is-ready ## Run it on the newest releases, and print what has changed
	.venv/bin/python -m crossings --newest $(FILES)

pythons: .pythons/debian/is-ready .pythons/pyodide/is-ready ## Build 3.14, 3.15, PyPy and Pyodide, in .pythons/

accessibility: .npm/axe-core/is-ready ## Install axe-core, with which the tests look at each view of the page

free-threaded: .pythons/free-threaded/is-ready ## Build a Python without a global lock, in .pythons/

wheel: .venv-release/is-ready ## Build the sdist, and the wheel from it, in dist
	rm -rf dist
	.venv-release/bin/uv build --build-constraint constraints.txt

# What is published, not what lies in the checkout: the wheel passes the tests from another folder.
test-wheel: .venv-wheel ## Run the tests on the wheel
	cd "$$(mktemp -d)" && "$(CURDIR)/.venv-wheel/bin/pytest" $(SIDE_BY_SIDE) "$(CURDIR)/tests"

# What is measured takes longer, and each of its threads leaves objects behind: no place for tests of speed and leaks.
# A measured child of a fork opens a database of SQLite, for ever if another thread of its parent held a lock of SQLite.
coverage: .venv-wheel ## Run the tests on the wheel, and report the lines that none of them runs
	rm -f .coverage .coverage.*
	cd "$$(mktemp -d)" && "$(CURDIR)/.venv-wheel/bin/coverage" run --rcfile="$(CURDIR)/pyproject.toml" \
	  --source="$$(echo "$(CURDIR)"/.venv-wheel/lib/python*/site-packages/hl_sessions)" \
	  --data-file="$(CURDIR)/.coverage" -m pytest $(SIDE_BY_SIDE) --timeout=120 -m "not forks" "$(CURDIR)/tests" \
	  --ignore="$(CURDIR)/tests/isolation/test_leaks.py" --ignore="$(CURDIR)/tests/test_benchmarks.py"
	.venv-wheel/bin/coverage combine --quiet
	.venv-wheel/bin/coverage report

release-check: .venv-release/is-ready ## Check what is published, on every supported Python that is found
	.venv-release/bin/python .ci/release_check.py $(VERSIONS)

lint: .venv/test-is-ready ## Check style and the directions of imports
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/lint-imports

types: .venv/test-is-ready ## Check types
	.venv/bin/mypy

bench: .venv/test-is-ready .venv-0.1 .venv-arize-phoenix .venv-mlflow ## Measure everything, for docs/benchmarks.md
	.venv/bin/uv pip install --python .venv -c constraints.txt --group benchmark
	.venv/bin/python -m benchmarks

# The servers beside which ours is measured, each with what it needs.
.venv-arize-phoenix .venv-mlflow: .venv-%: | .venv/test-is-ready
	.venv/bin/uv venv --quiet --python .venv/bin/python $@
	.venv/bin/uv pip install --python $@ $* || { rm -rf $@; exit 1; }

.venv-0.1: | .venv/test-is-ready
	mkdir -p build/0.1
	git archive 8e5606e | tar -x -C build/0.1
	.venv/bin/uv venv --quiet --python .venv/bin/python $@
	.venv/bin/uv pip install --python $@ -c build/0.1/constraints.txt "./build/0.1[server]" || { rm -rf $@; exit 1; }

# Not with --quiet: MkDocs counts no warning then, and a broken link would pass.
docs: .venv-docs/is-ready ## Build the guide as a site, in build/docs, and check its links
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build

docs-picture: .venv/test-is-ready ## Draw docs/rooms.svg from the import contracts
	.venv/bin/python docs/rooms.py

screenshots: .venv/test-is-ready ## Take the pictures of the page and of the demo
	.venv/bin/python docs/screenshots.py

# The pins: what is newest now and works on every supported Python. Extras that are tested in environments of their own
# are pinned there: some keep others old.
constraints: .venv/pip-is-ready ## Pin the newest version of every dependency
	.venv/bin/pip install uv
	.venv/bin/uv pip compile --universal --python-version 3.10 --upgrade --no-header --no-annotate \
	  $(addprefix --extra ,$(subst $(COMMA), ,$(EXTRAS))) --group test --group lint --group build --group benchmark --group docs --group release pyproject.toml -o constraints.txt

clean: ## Remove what make has made
	rm -rf .venv* .npm .pythons build dist *.egg-info .coverage* .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

# Every time anew: what is built follows from every source file.
.venv-wheel: wheel .venv/test-is-ready
	rm -rf .venv-wheel
	.venv/bin/uv venv --quiet --python .venv/bin/python .venv-wheel
	.venv/bin/uv pip install --python .venv-wheel -c constraints.txt --group test --group build \
	  "$$(echo dist/*.whl)[$(EXTRAS)]"

.venv-docs/is-ready: .venv/test-is-ready
	rm -rf .venv-docs
	.venv/bin/uv venv --quiet --python .venv/bin/python .venv-docs
	.venv/bin/uv pip install --quiet --python .venv-docs -c constraints.txt --group docs
	touch $@

.venv-release/is-ready: .venv/pip-is-ready pyproject.toml constraints.txt
	.venv/bin/python -m venv --clear --without-pip .venv-release
	.venv/bin/pip --python .venv-release install --quiet -c constraints.txt --group release
	touch $@

.venv-%/test-is-ready: .venv/test-is-ready
	rm -rf .venv-$*
	.venv/bin/uv venv --quiet --python "$$(.ci/find-python $*)" .venv-$*
	.venv/bin/uv pip install --quiet --python .venv-$* -c constraints.txt --build-constraints constraints.txt \
	  --group build $(if $(filter %t,$*),-e ".[$(CORE_EXTRAS)]" --group test-core,$\
	  $(if $(filter pypy%,$*),-e ".[$(PYPY_EXTRAS)]" --group test-core,-e ".[$(EXTRAS)]" --group test))
	touch $@

.pythons/debian/is-ready: .ci/pythons
	.ci/pythons
	touch $@

.pythons/pyodide/is-ready: .ci/pyodide constraints.txt .venv/test-is-ready
	.ci/pyodide
	touch $@

.npm/axe-core/is-ready:
	npm install --silent --no-save --prefix $(@D) axe-core@4.14.1
	touch $@

.pythons/free-threaded/is-ready:
	.ci/free-threaded
	touch $@

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
