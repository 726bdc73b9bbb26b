# Every task of the project. `make` alone explains itself.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench doctor serve fmt lint type lock clean

PY := .venv/bin/python
READY := .venv/.ready
BENCHES := bench/standin.py bench/shards.py bench/scan.py bench/sampling.py bench/cuts.py bench/flow.py bench/decode.py bench/isolation.py bench/leaks.py bench/fuzz.py bench/outcomes.py \
    bench/real_videos.py
MODEL ?= demo/train/model
ARGS ?=
# A test that hangs fails with the stack of every thread, instead of taking the whole run along.
HANGS := --timeout=1200 --session-timeout=4500
# Most tests of jobs wait for processes to start: two at a time take two thirds of the time on two cores. A file stays
# together, for what its tests share; one thread each, or the two would fight for the cores.
WORKERS ?= 2

help: ## Explain the targets (this list)
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo "  ARGS='…' is passed on, for example: make test ARGS='-k taxonomy'"

setup: $(READY) ## Make .venv with everything in it (nothing to do when it is up to date)

# Redone when a dependency or a pin changes. A build of torch without CUDA satisfies the pin too, and pip prefers it
# where the package index offers one.
$(READY): pyproject.toml constraints.txt
	@echo "== setup: installing into .venv (a few minutes the first time)"
	@found=; \
	for candidate in python3.11 python3 python; do \
	    if "$$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' >/dev/null 2>&1; then \
	        found=$$candidate; break; \
	    fi; \
	done; \
	if [ -z "$$found" ]; then \
	    echo "setup: Python 3.11 was not found as python3.11, python3 or python: install it, then run make again" >&2; \
	    exit 1; \
	fi; \
	"$$found" -m venv .venv || { \
	    echo "setup: '$$found -m venv .venv' failed; on Debian and Ubuntu the package python3.11-venv is needed" >&2; \
	    exit 1; \
	}
	@$(PY) -m pip install --quiet --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@
	@echo "== setup: done"

demo: $(READY) ## Generate, train, label and score a small corpus; prints where the report is
	@echo "== demo: the whole path on a generated corpus, into demo/"
	@$(PY) jobs/demo.py --config configs/demo.yaml --output demo $(ARGS)

test: $(READY) ## Run the whole test suite
	@echo "== test: the whole suite"
	@OMP_NUM_THREADS=1 $(PY) -m pytest $(HANGS) --numprocesses=$(WORKERS) --dist=loadfile --durations=15 $(ARGS)

check: $(READY) ## What CI runs: format, lint, types, layers, tests
	@echo "== check: format"
	@.venv/bin/ruff format --check .
	@$(MAKE) --no-print-directory lint type test

bench: $(READY) ## Measure; videos are taken from the folder named by FAL_REAL_VIDEOS
	@for bench in $(BENCHES); do echo "== bench: $$bench"; $(PY) "$$bench" $(ARGS) || exit 1; done

doctor: $(READY) ## Say what this machine has and lacks, when something does not work
	@$(PY) -m pipelines.doctor $(ARGS)

serve: $(READY) | $(MODEL) ## Serve MODEL (default: the demo's) over HTTP until stopped
	@echo "== serve: $(MODEL)"
	@$(PY) jobs/serve.py --model $(MODEL) $(ARGS)

demo/train/model: | $(READY)
	@echo "== serve: there is no model yet, so the demo comes first"
	@$(MAKE) --no-print-directory demo

fmt: $(READY) ## Format the code and apply the linter's safe fixes
	@echo "== fmt"
	@.venv/bin/ruff format .
	@.venv/bin/ruff check --fix .

lint: $(READY) ## Lint, and check that the layers hold
	@echo "== lint: ruff"
	@.venv/bin/ruff check .
	@echo "== lint: layers"
	@.venv/bin/lint-imports --no-cache

type: $(READY) ## Check types (strict, tests included)
	@echo "== type: mypy"
	@.venv/bin/mypy

lock: ## Write constraints.txt anew from what pyproject.toml allows today
	@echo "== lock: resolving in a fresh environment (a few minutes)"
	@rm -rf build/lock && mkdir -p build
	@"$$( [ -x $(PY) ] && echo $(PY) || echo python3.11 )" -m venv build/lock
	@build/lock/bin/python -m pip install --quiet --quiet --disable-pip-version-check --editable '.[dev,peers]'
	@{ sed -n '/^#/p' constraints.txt; \
	   build/lock/bin/python -m pip freeze --exclude-editable | sed -E 's/\+[A-Za-z0-9.]+$$//' \
	   | grep -Ev '^(nvidia-|cuda-|triton==)' | LC_ALL=C sort -f; } > build/constraints.txt
	@mv build/constraints.txt constraints.txt
	@rm -rf build/lock
	@echo "== lock: constraints.txt written; look at the difference, then: make check"

clean: ## Remove caches, builds and demo/ (keeps .venv and out/)
	@echo "== clean"
	@rm -rf build dist demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage *.egg-info
	@find fal_model pipelines jobs tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
