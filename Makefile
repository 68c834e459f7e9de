# Everything from a bare Python 3.11 or later; to choose another one: make test PYTHON=python3.12
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Another one, with the lowest versions that pyproject.toml admits.
LOWEST := .venv-lowest
PYTEST_ARGS ?= -n 2 --dist worksteal
ARGS ?=

# Real data for the tests, if it lies next to this checkout; tests that need it skip without it.
SUREFOOT_DATA ?= $(shell cd ../shared/data 2>/dev/null && pwd)
ifneq ($(SUREFOOT_DATA),)
export SUREFOOT_DATA
endif

# Tests start a hundred processes: each would compile the package's source again.
unexport PYTHONDONTWRITEBYTECODE

# Otherwise pyright asks to be updated.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

RUN := $(VENV)/.installed-all
DEV := $(VENV)/.installed-all-dev
SHIPPED := src/surefoot/native/shipped

# Tests that use every dependency and every kind of kernel, in a few minutes. Old releases warn of what newer ones of
# others deprecate.
LOWEST_TESTS := tests/native tests/conformance/test_storage.py tests/oracles/test_torch.py \
  tests/oracles/test_optax_lockstep.py tests/optim/test_checkpoints.py tests/learn/test_linear.py tests/data/stream \
  tests/cli/test_cli_train.py tests/lab/test_figures.py

.PHONY: help run test test-all test-lowest lint format figures bench clean distclean
.DEFAULT_GOAL := help

help:
	@echo 'make run       train every rule on built-in data and write a report (surefoot compare; more arguments: ARGS="...")'
	@echo 'make test      make lint and the fast tests'
	@echo 'make test-all  make test, then the slow tests, and more examples'
	@echo 'make test-lowest  some of the tests, with the lowest versions of other packages that are supported'
	@echo 'make lint      lint, types, import contracts and the names of kernels alone'
	@echo 'make format    fix formatting and imports with ruff'
	@echo 'make figures   draw the figures of docs/ again (some of them: ARGS="adagrad.md")'
	@echo 'make bench     compare speed with other libraries (not part of the tests)'
	@echo 'make clean     remove caches and build output; make distclean: $(VENV) and $(LOWEST) too'

run: $(RUN) $(SHIPPED)
	$(BIN)/surefoot compare $(ARGS)

test: lint
	$(BIN)/python -m pytest $(PYTEST_ARGS) -m 'not slow' $(ARGS)

test-all: test
	$(BIN)/python -m pytest $(PYTEST_ARGS) -m 'slow or hypothesis' --hypothesis-profile=thorough $(ARGS)

test-lowest: $(LOWEST)/.installed
	$(LOWEST)/bin/python -m pytest $(PYTEST_ARGS) -m 'not slow' -W default::DeprecationWarning $(LOWEST_TESTS) $(ARGS)

lint: $(DEV)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/lint-imports --no-logo
	$(BIN)/python tools/kernel_names.py

format: $(DEV)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

figures: $(DEV)
	$(BIN)/python docs/figures/architecture.py
	$(BIN)/python tools/doc_blocks.py $(ARGS)
	$(BIN)/python tools/reproduced_page.py

bench: $(DEV)
	$(BIN)/python -m benchmarks $(ARGS)

clean:
	rm -rf $(SHIPPED) build dist .benchmarks .hypothesis .import_linter_cache .pytest_cache .ruff_cache
	find src tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

distclean: clean
	rm -rf $(VENV) $(LOWEST)

$(RUN): EXTRAS := all
$(DEV): EXTRAS := all,dev

# One pip call under the constraints, so that torch's pinned version is chosen together with the rest.
$(RUN) $(DEV): pyproject.toml constraints.txt
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
	  command -v "$(PYTHON)" >/dev/null || { \
	    echo 'There is no $(PYTHON) here. Name a Python 3.11 or later: make $(MAKECMDGOALS) PYTHON=/path/to/python3' >&2; exit 1; }; \
	  "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "surefoot needs Python 3.11 or later; $(PYTHON) answers: $$("$(PYTHON)" --version 2>&1 | head -n 1)" >&2; \
	    echo 'Name another one: make $(MAKECMDGOALS) PYTHON=/path/to/python3' >&2; exit 1; }; \
	  "$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo '$(PYTHON) comes without venv. Install it (on Debian and Ubuntu: apt-get install python3-venv) and try again.' >&2; exit 1; }; \
	  "$(PYTHON)" -m venv --clear $(VENV); }
	@echo 'Installing surefoot[$(EXTRAS)] into $(VENV): about a minute, only this once'
	$(BIN)/python -m pip install --disable-pip-version-check -qq --constraint constraints.txt --editable '.[$(EXTRAS)]'
	@touch $(RUN) $@

# What a wheel has too: without them, a first `surefoot train` compiles its kernels.
$(SHIPPED): pyproject.toml tools/ship_kernels.py | $(RUN)
	@echo 'Compiling the kernels of a first training: about a minute, only this once'
	@$(BIN)/python tools/ship_kernels.py
	@touch $@

$(LOWEST)/.installed: pyproject.toml tools/lowest_versions.py | $(DEV)
	$(BIN)/python -m venv --clear $(LOWEST)
	$(BIN)/python tools/lowest_versions.py > $(LOWEST)/constraints.txt
	@echo 'Installing the lowest versions into $(LOWEST): about a minute, only this once'
	$(LOWEST)/bin/python -m pip install --disable-pip-version-check -qq --constraint $(LOWEST)/constraints.txt \
	  --editable '.[all]' expecttest hypothesis pytest pytest-xdist
	@touch $@
