# Every target makes .venv first if it is missing or older than what it is made from.
#   make reproduce   run the notebooks, draw the figures, print the results (PROFILE=quick or paper)
#   make test        unit tests, doctests, notebook checks
#   make lab         JupyterLab on the notebooks
#   make bench       benchmarks; make figures: redraw figures from stored results
#   make notebooks   for authors: execute all notebooks in place; make lint: style checks; make sanitize: see kernels.mk

SHELL := /bin/bash
PROFILE ?= quick
JOBS ?= 2
BIN := .venv/bin
INSTALLED := .venv/.installed
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
KERNEL_SOURCES := $(wildcard gnnq_lib/kernels/csrc/*)
# The first Python from 3.10 to 3.13 on the path.
FIND_PYTHON = for p in python3 python3.13 python3.12 python3.11 python3.10; do \
  $$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done

.PHONY: reproduce test test-unit test-notebooks lab bench figures notebooks lint install

install: $(INSTALLED)

# Each step is a no-op without network when what it wants is there already. Taking the pinned versions without resolving
# their dependencies first (the second step) saves minutes; the third adds what another system may need beyond them.
$(INSTALLED): pyproject.toml constraints.txt setup.py $(KERNEL_SOURCES)
	@if [ ! -x $(BIN)/python ]; then \
	  python="$${PYTHON:-$$($(FIND_PYTHON))}"; \
	  if [ -z "$$python" ]; then echo "No Python 3.10 to 3.13 was found; install one or say PYTHON=/path/to/python"; exit 1; fi; \
	  echo "making .venv with $$($$python --version)"; $$python -m venv .venv; fi
	$(PIP_INSTALL) -c constraints.txt torch==2.13.0 "setuptools>=77"
	$(PIP_INSTALL) --no-deps -r constraints.txt
	$(PIP_INSTALL) -c constraints.txt --no-build-isolation -e ".[dev]"
	@touch $@

reproduce: $(INSTALLED)
	$(BIN)/gnnq reproduce --profile $(PROFILE) --jobs $(JOBS)

test: test-unit test-notebooks

test-unit: $(INSTALLED)
	$(BIN)/python -m pytest -q -n $(JOBS) --doctest-modules gnnq_lib tests

# Notebooks are run as stored; only cells tagged nbval-check-output are compared. Their results go to a folder of their own.
test-notebooks: export GNNQ_RESULTS := $(CURDIR)/runs/nbval/results
test-notebooks: export MPLBACKEND := module://matplotlib_inline.backend_inline
test-notebooks: export OMP_NUM_THREADS := 1
test-notebooks: $(INSTALLED)
	$(BIN)/python -m pytest -q -n $(JOBS) --dist loadscope -p tests.nbval_kernel_start --nbval-lax --nbval-current-env \
	  --nbval-cell-timeout 900 --nbval-sanitize-with tests/sanitize.cfg notebooks

lab: $(INSTALLED)
	$(BIN)/jupyter lab --notebook-dir notebooks

bench: $(INSTALLED)
	$(BIN)/gnnq bench kernels
	$(BIN)/gnnq bench inference
	$(BIN)/gnnq bench training

figures: $(INSTALLED)
	$(BIN)/gnnq figures

notebooks: $(INSTALLED)
	$(BIN)/gnnq notebook refresh notebooks/[0-9]*.ipynb notebooks/solutions/*.ipynb

lint: $(INSTALLED)
	$(BIN)/ruff check gnnq_lib tests setup.py

include kernels.mk
