# make demo    what the library does, on a RabbitMQ node of its own or the one in AMQP_URL
# make test    everything that continuous integration runs
#
# PYTHON=python3.12 chooses the interpreter; `make clean` between two of them.

PYTHON ?= python3
export PYTHON

# Two builds of the one source, each installed in an environment of its own. The tests import what
# is installed: `pytest`, unlike `python -m pytest`, doesn't put the working directory first.
COMPILED = .venv
PURE = .venv-pure
PIP = bin/python -m pip -qq --disable-pip-version-check
PYTEST = bin/pytest --durations=10 $(PYTEST_ARGS)
# pytest ends a test that hangs; this ends what hangs where pytest can't: a thread left over at exit.
LIMIT = timeout --foreground --kill-after=10 1500
SOURCES = setup.py pyproject.toml $(wildcard amqp/*.py amqp/*.pxd amqp/*.pyx)
UNIT = t/unit t/wire
BROKER = $(COMPILED)/bin/python -m t.helpers.broker
BENCH = $(COMPILED)/bin/python -m t.benchmarks

.DELETE_ON_ERROR:
.PHONY: demo test lint type unit unit-pure unit-compiled docs integration integration-gevent \
	integration-eventlet bench bench-quick bench-threads bench-confirms coverage wheels clean

demo: $(COMPILED)/package
ifdef AMQP_URL
	$(COMPILED)/bin/python extra/demo.py
else
	@extra/bootstrap.sh broker
	$(BROKER) $(COMPILED)/bin/python extra/demo.py
endif

test: export AMQP_REQUIRE_CYTHON = 1
test:
	@for step in lint type unit docs integration integration-gevent integration-eventlet; do \
		printf '\n== %s\n' $$step; $(MAKE) --no-print-directory $$step || exit; done

lint: $(COMPILED)/tools
	$(COMPILED)/bin/ruff check
	$(COMPILED)/bin/ruff format --check

type: $(COMPILED)/tools
	$(COMPILED)/bin/mypy

unit: unit-pure unit-compiled

unit-pure: $(PURE)/tools
	AMQP_TEST_EXPECT=pure PYTHONSAFEPATH=1 $(LIMIT) $(PURE)/$(PYTEST) $(UNIT)

unit-compiled: $(COMPILED)/tools
	AMQP_TEST_EXPECT=compiled PYTHONSAFEPATH=1 $(LIMIT) $(COMPILED)/$(PYTEST) $(UNIT) \
		t/differential t/benchmarks

integration: $(COMPILED)/tools
	@extra/bootstrap.sh broker
	AMQP_TEST_EXPECT=compiled PYTHONSAFEPATH=1 $(LIMIT) $(COMPILED)/$(PYTEST) t/integration

# The same over greenlets: those tests that need no other process, and not long.
integration-gevent integration-eventlet: integration-%: $(COMPILED)/tools
	@extra/bootstrap.sh broker
	AMQP_TEST_EXPECT=compiled PYTHONSAFEPATH=1 $(LIMIT) $(COMPILED)/bin/python t/helpers/green.py $* \
		--durations=10 -m 'not slow' $(PYTEST_ARGS) t/integration

docs: $(COMPILED)/tools
	$(COMPILED)/bin/sphinx-build -q -W -n docs docs/_build/html

bench: $(COMPILED)/tools
	@extra/bootstrap.sh broker
	$(BROKER) $(BENCH) $(BENCH_ARGS)

bench-quick: $(COMPILED)/tools
	$(BENCH) --quick $(BENCH_ARGS)

bench-confirms: $(COMPILED)/tools
	@extra/bootstrap.sh broker
	$(BROKER) env PYTHONSAFEPATH=1 $(COMPILED)/bin/python t/benchmarks/confirms.py

# What threads get that share a connection, and what its locks cost, by both builds.
bench-threads: $(COMPILED)/tools $(PURE)/tools
	@extra/bootstrap.sh broker
	for build in $(PURE) $(COMPILED); do \
		$(BROKER) env PYTHONSAFEPATH=1 $$build/bin/python t/benchmarks/threads.py || exit; done

coverage: $(PURE)/tools
# Without the storms of signals: they would interrupt the measuring where it holds a lock.
	AMQP_TEST_EXPECT=pure PYTHONSAFEPATH=1 $(LIMIT) $(PURE)/$(PYTEST) --cov -k 'not storm' $(UNIT)

# The sdist, a compiled wheel for each Python that is found, the pure wheel; looked into, and tried.
wheels:
	@extra/bootstrap.sh python compiler
	$(PYTHON) extra/build_wheels.py $(WHEELS_ARGS)

clean:
	rm -rf $(COMPILED) $(PURE) .venv-bench-* build dist *.egg-info docs/_build .tox .coverage htmlcov
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis

# Files of the environments, made anew when what they come from changes.

%/bin/python:
	@extra/bootstrap.sh python compiler
	$(PYTHON) -m venv $*

$(COMPILED)/package: $(SOURCES) | $(COMPILED)/bin/python
	rm -rf build
	$(COMPILED)/$(PIP) install .
	touch $@

$(PURE)/package: $(SOURCES) | $(PURE)/bin/python
	rm -rf build
	AMQP_SKIP_CYTHON=1 $(PURE)/$(PIP) install .
	touch $@

$(COMPILED)/tools: $(COMPILED)/package $(wildcard requirements/*.txt)
	$(COMPILED)/$(PIP) install $(addprefix -r requirements/, \
		lint.txt type.txt docs.txt bench.txt test-cython.txt test-integration.txt)
	touch $@

$(PURE)/tools: $(PURE)/package $(wildcard requirements/*.txt)
	$(PURE)/$(PIP) install -r requirements/test.txt
	touch $@
