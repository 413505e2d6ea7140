# Needs only Python >= 3.11 and make. `make demo` and `make test` do all set-up themselves, in .venv.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test real chaos redteam check lint types imports wheel bench lock clean environment

VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 2

# The first interpreter that runs, is new enough and can make environments; PYTHON=... overrides the search.
USABLE := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))
ifeq ($(origin PYTHON),undefined)
PYTHON = $(shell for p in python3 python3.13 python3.12 python3.11 python3.14 python; do \
	"$$p" -c '$(USABLE)' >/dev/null 2>&1 && { command -v "$$p"; break; }; done)
endif

help: ## list the commands
	@sed -n 's/^\([a-z]*\):.*## /  make \1|/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-14s %s\n", $$1, $$2}'

demo: $(VENV)/run.stamp ## set up what is needed to run, then show the maintenance workflow at work
	@$(BIN)/interlock demo

test: $(VENV)/dev.stamp ## set up everything, then run the tests with coverage of the floors
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup --cov --cov-report=term:skip-covered $(ARGS)

real: $(VENV)/dev.stamp ## run the slow tests on real alerts, where those lie beside the repository
	@$(BIN)/python -m pytest -m real $(ARGS)

chaos: $(VENV)/dev.stamp ## end processes, and cancel calls, at every numbered point; ARGS="-k some" is short
	@$(BIN)/python -m pytest -m "chaos or not chaos" $(ARGS) tests/crash tests/graphs/test_nested_retries.py

redteam: $(VENV)/dev.stamp ## run the attack tests, then replay AgentDojo against the gateway
	@failed=0; $(BIN)/python -m pytest -q tests/redteam || failed=1; \
	$(BIN)/python -m interlock.evals.redteam $(ARGS) || failed=1; exit $$failed

check: lint types imports wheel ## ruff, mypy --strict, pyright, import-linter, content of the wheel

lint: $(VENV)/dev.stamp
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/dev.stamp
	@$(BIN)/mypy -p interlock
	@$(BIN)/mypy $(wildcard tests bench)
	@$(BIN)/pyright

imports: $(VENV)/dev.stamp
	@$(BIN)/lint-imports --no-logo

wheel: $(VENV)/dev.stamp
	@$(BIN)/python -m pytest -q tests/repo/test_wheel.py

bench: $(VENV)/dev.stamp ## run the benchmarks of docs/benchmarks.md
	@$(BIN)/python -m bench $(ARGS)

lock: ## resolve the two lock files again (needs uv)
	@command -v uv >/dev/null || { echo "make lock needs uv: python3 -m pip install uv" >&2; exit 1; }
	$(LOCK) --extra dev --output-file requirements-dev.lock
	$(LOCK) --constraints requirements-dev.lock --output-file requirements.lock
LOCK = uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate

clean: ## remove the environment and everything that was built
	rm -rf $(VENV) build dist *.egg-info .coverage* htmlcov .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

# Set-up. A stamp is newer than what was installed from; an interrupted step leaves none and is done again.
# The locks are complete, so pip has nothing to look for: it would find, and refuse, versions newer than the pins.
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
PROJECT := $(PIP) install --no-deps --no-build-isolation --editable .

$(VENV)/run.stamp: requirements.lock pyproject.toml setup.py | $(VENV)/made.stamp
	@echo "Installing what Interlock needs to run (about a minute, once) ..."
	@$(PIP) install --no-deps --require-hashes --requirement requirements.lock
	@$(PROJECT)
	@touch $@

$(VENV)/dev.stamp: requirements-dev.lock pyproject.toml setup.py | $(VENV)/made.stamp
	@echo "Installing what the tests and checks need (about two minutes, once) ..."
	@$(PIP) install --no-deps --require-hashes --requirement requirements-dev.lock
	@$(PROJECT)
	@touch $@

$(VENV)/made.stamp:
	@$(BIN)/python -c '$(USABLE)' 2>/dev/null || $(MAKE) --no-print-directory environment
	@touch $@

environment:
	@[ -n "$(PYTHON)" ] && "$(PYTHON)" -c '$(USABLE)' || { \
		echo "Interlock needs Python 3.11, 3.12, 3.13 or 3.14 with its venv module; none was found." >&2; \
		echo "Debian and Ubuntu: apt install python3-venv. To name one: make PYTHON=/path/to/python3.12" >&2; \
		exit 1; }
	@echo "Making the environment $(VENV) with $(PYTHON)"
	@"$(PYTHON)" -m venv --clear $(VENV)
