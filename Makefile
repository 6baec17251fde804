# Both targets do all the set-up they need: a virtual environment in .venv from the hashed requirements-dev.txt.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.stamp

.PHONY: quickstart test lint faults docs acceptance bench bench-lock bench-helpers lock-dev clean

quickstart: $(STAMP)
	$(BIN)/packager build quickstart -o dist
	$(BIN)/python examples/try_bundle.py dist

# Three at once on two processors, since tests wait for servers and processes a third of their time; whoever is done first
# takes tests from the others, or one would be left with the long ones at the end.
test: lint
	$(BIN)/pytest -n 3 --dist worksteal $(PYTEST_ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python docs/generate.py --check

# The reference pages that follow from the recipe's schema and the clean-up rules.
docs: $(STAMP)
	$(BIN)/python docs/generate.py

# Helpers killed at 200 points and more of a real bundle; `make test` tries 24.
faults: $(STAMP)
	FAULT_POINTS=200 $(BIN)/pytest -n 2 tests/e2e/test_faults.py

# COMFYUI: a local copy of its repository. NODES: local copies of node repositories, each PATH or NAME=PATH.
acceptance: $(STAMP)
	$(BIN)/python tests/acceptance/run.py --comfyui $(COMFYUI) --nodes $(NODES)

# TREE: a folder to compress, a real environment of a gigabyte or more. BENCH_ARGS: --quick, --conda-env PREFIX, ...
# What the helpers cost, and the plan of a clean-up against find, come first.
bench: $(STAMP) bench-helpers
	$(BIN)/python benchmarks/cleanup.py
	$(BIN)/python benchmarks/cleanup.py $(TREE)
	$(BIN)/python benchmarks/archive.py $(TREE) --reuse --small-files --large $(BENCH_ARGS)

# ZIP: a bundle; `make quickstart` makes one. What the helpers cost against Python and pip called directly.
bench-helpers: $(STAMP)
	$(BIN)/python benchmarks/helpers.py $(or $(ZIP),$(firstword $(wildcard dist/*.zip)))

# COMFYUI and NODES (each NAME=PATH): as above. Compares our lock with comfy-cli's compiler.
bench-lock: $(STAMP)
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python benchmarks/locking.py --comfyui $(COMFYUI) $(addprefix --node ,$(NODES))

$(STAMP): pyproject.toml requirements-dev.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 10), "Python 3.10 or newer is needed, this is " + sys.version'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $(STAMP)

lock-dev: $(STAMP)
	$(BIN)/uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --group dev \
	    --output-file requirements-dev.txt pyproject.toml requirements-build.in

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache
