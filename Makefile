# Everything that is done with this repository.  Each target sets up what it needs.
#   PYTHON=python3.12   the interpreter for a new .venv      JOBS=4   parallel test processes
#   ARGS="-k lease"     further arguments for pytest or for the benchmarks

JOBS ?= 2
SOAK_TASKS ?= 50000
FUZZ_SECONDS ?= 600
HOSTILE ?= 100000
ARGS ?=
BIN := .venv/bin
export PYTHON

.DEFAULT_GOAL := help
.PHONY: help setup demo week test test-all crash soak hostile fuzz audit bench lint format clean distclean

help: ## Show this list
	@echo "sqlqueue: make TARGET, where TARGET is one of"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@sed -n 's/^#  /  /p' $(MAKEFILE_LIST)

setup: ## Make .venv and install everything into it (once)
	@tools/setup.sh

demo: setup ## Run the quickstart sweep in demo/, with real training, and show what came out
	@$(BIN)/python tools/demo.py

week: setup ## Replay a researcher's week in week/: growth, failures, preemption, reruns, import
	@$(BIN)/python tools/week.py $(ARGS)

test: lint ## Lint, type check and the tests that take seconds
	$(BIN)/pytest -n $(JOBS) -m "not slow and not crash" $(ARGS)

test-all: lint ## Lint, type check and every test, the long ones too
	$(BIN)/pytest -n $(JOBS) $(ARGS)

crash: setup ## Only the campaigns that kill real processes
	$(BIN)/pytest -n $(JOBS) -m crash $(ARGS)

soak: setup ## Many tasks for a long time, killed and restarted; SOAK_TASKS=50000
	SOAK_TASKS=$(SOAK_TASKS) $(BIN)/pytest -s tests/campaign/test_soak.py $(ARGS)

hostile: setup ## Many hostile connections beside real workers; HOSTILE=100000
	HOSTILE=$(HOSTILE) $(BIN)/pytest -s tests/campaign/test_hostile_campaign.py $(ARGS)

fuzz: setup ## Search for bytes that break decoder or sweep reader, each; FUZZ_SECONDS=600
	@$(BIN)/python -c "import atheris" 2>/dev/null || \
		$(BIN)/python -m pip install --constraint constraints.txt atheris
	PYTHONPATH=tests $(BIN)/python -m fuzz decoder --seconds $(FUZZ_SECONDS) $(ARGS)
	PYTHONPATH=tests $(BIN)/python -m fuzz sweep --seconds $(FUZZ_SECONDS) $(ARGS)

audit: setup ## Ask whether a dependency has a known vulnerability; what could not be asked fails
	@$(BIN)/python tools/audit.py $(ARGS)

bench: setup ## Measure beside baselines and peers, and write docs/PERFORMANCE.md
	@tools/setup_bench.sh
	$(BIN)/python -m benchmarks $(ARGS)

lint: setup ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup ## Bring the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove caches, demo/ and week/; never a queue or results of yours
	rm -rf demo week sqlqueue-bench-* build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -path ./.venv -prune -o -name __pycache__ -type d -exec rm -rf {} +

distclean: clean ## As clean, and .venv, .venv-peers and the corpus of make fuzz too
	rm -rf .venv .venv-peers fuzz-corpus
