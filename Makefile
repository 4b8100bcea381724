# Two commands do all the set-up: `make demo` and `make test`. Both work on a machine that has Python 3.11 or later and nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Tests start some hundred processes; without stored bytecode each of them compiles all sources again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test checks proofs bench results reproduce lint types floors tests clean

demo: $(VENV)/runtime
	$(BIN)/coppice demo

# Side by side: the checks keep one core busy at most.
test: $(VENV)/development
	@$(MAKE) --no-print-directory -j2 checks tests

checks: lint types floors

lint: $(VENV)/development
	$(BIN)/ruff check src tests benchmarks experiments
	$(BIN)/ruff format --check src tests benchmarks experiments

types: $(VENV)/development
	$(BIN)/mypy

floors: $(VENV)/development
	$(BIN)/lint-imports

tests: $(VENV)/development
	$(BIN)/python -m pytest

# Slow tests; docs/proofs.md says which, and when they last ran.
proofs: $(VENV)/development
	@mkdir -p runs
	$(BIN)/python -m pytest -m proof --junitxml=runs/proofs.xml
	$(BIN)/python experiments/proofs_page.py runs/proofs.xml

bench: $(VENV)/development
	@for script in benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

# Slow: the numbers of docs/results*.md, cross-validated on real recordings (about an hour on two cores).
ESC10 ?=
RESULTS := $(BIN)/coppice run --jobs 2 $(if $(ESC10),--set data.root=$(ESC10))
results: $(VENV)/runtime
	$(RESULTS) recipes/esc10-results.yaml
	$(BIN)/coppice report runs/esc10-results --markdown docs/results.md
	$(RESULTS) recipes/esc10-entries.yaml
	$(BIN)/coppice report runs/esc10-entries --markdown docs/results-entries.md

# docs/reproduced.md and .html: published numbers beside ours, from the released files in DATA.
DATA ?= ../shared/data
reproduce: $(VENV)/runtime
	$(BIN)/coppice reproduce --data $(DATA) --out docs

# torch comes first and from the lock: an unpinned one may bring gigabytes of CUDA packages. Modules are compiled
# when they are first imported; most never are.
$(VENV)/torch: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile "$$(grep '^torch==' constraints.txt)"
	@touch $@

$(VENV)/runtime: $(VENV)/torch pyproject.toml
	$(BIN)/python -m pip install --quiet --no-compile --editable .
	@touch $@

$(VENV)/development: $(VENV)/torch pyproject.toml
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[dev]'
	@touch $@ $(VENV)/runtime

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .import_linter_cache .hypothesis
