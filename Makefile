# Everything a newcomer needs: `make demo` and `make test`. The virtual environment makes itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Seconds after which a test hangs: the longest takes some 40.
LONGEST := 300

.PHONY: all install converters packages check test test-search test-others test-slow demo clean

all: install

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

# What some runtimes need to convert models, each in an environment of its own in the user's cache: 2.5 GB, once.
converters: $(STAMP)
	$(BIN)/hwnas doctor --install ncnn
	$(BIN)/hwnas doctor --install litert

# Debian's packages that some tests use for real; without them, or without the right to install them, those are skipped.
packages:
	$(PYTHON) tests/debian.py

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Two halves side by side, each shown when it is done: on two cores all of it takes about as long as the longer one. What
# one has exported and compiled, the other does not.
test: $(STAMP)
	cache=$$(mktemp -d) && trap 'rm -rf "$$cache"' EXIT && HWNAS_TEST_CACHE=$$cache \
		$(MAKE) --no-print-directory --output-sync=recurse -j2 test-search test-others

test-search: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --timeout=$(LONGEST) tests/nas tests/docs tests/predictors

# Those of the profiler first: by the time that networks of spaces are needed, the other half has most of them.
test-others: check converters packages
	$(BIN)/python -m pytest --timeout=$(LONGEST) tests/profiler tests --ignore=tests/nas --ignore=tests/docs --ignore=tests/predictors

# All tests, the slow ones as well, and what of `nas` and `predictors` none of them ran: hours.
test-slow: $(STAMP)
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -m ""
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

demo: $(STAMP)
	$(BIN)/python -m benchmarks.demo

clean:
	rm -rf $(VENV) runs .coverage* .mypy_cache .ruff_cache .pytest_cache
