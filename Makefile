# The recipes everybody uses: people, pre-commit and CI alike.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: demo test chaos check format generate bench bench-peers docs clean

# Installs into a local environment, once; again when the dependencies change.
$(STAMP): pyproject.toml requirements-dev.txt
	@$(PYTHON) --version >/dev/null 2>&1 || python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Taskyard needs Python 3.11 or newer: install it, or say PYTHON=/path/to/python3"; exit 1; }
	@if [ ! -x $(BIN)/python ]; then \
	  ($(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV)) 2>/dev/null \
	  || { echo "making a virtual environment failed; on Debian: apt-get install python3-venv"; exit 1; }; fi
	@echo "Installing into $(VENV) (a minute at first) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e . -r requirements-dev.txt
	@touch $@

demo: $(STAMP)
	@$(BIN)/python -m demo

# Twice the two cores of a small machine: tests wait as much as they compute.
# They start hundreds of Pythons too, which keep what they compile whatever the environment says.
test: $(STAMP)
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 4 --dist loadgroup

# Several control planes for ten minutes, killed, frozen and cut off; CHAOS_SEED=N for the same again.
chaos: $(STAMP)
	CHAOS_SECONDS=$${CHAOS_SECONDS:-600} CHAOS_TASKS=$${CHAOS_TASKS:-6000} \
	  $(BIN)/python -m pytest tests/cluster/test_planes_chaos.py -s

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy src benchmarks demo tools
	$(BIN)/mypy tests/conftest.py
	cd tests && MYPYPATH=../src:. ../$(BIN)/mypy --config-file ../pyproject.toml -p fakes
	@# Folder by folder: each has a conftest.py of its own, and helpers it imports by name.
	@for folder in $$(find tests -mindepth 2 -name 'test_*.py' -printf '%h\n' | sort -u); do \
	  echo "mypy $$folder" && MYPYPATH="src:tests:$$folder" $(BIN)/mypy $$folder/*.py || exit 1; done
	$(BIN)/lint-imports
	$(BIN)/python tools/check_words.py

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The models of the Python client from the OpenAPI description, its synchronous half from the other.
generate: $(STAMP)
	$(BIN)/python tools/sdk_models.py
	$(BIN)/python tools/unasync.py

bench: $(STAMP)
	$(BIN)/python -m benchmarks

bench-peers: $(STAMP)
	$(BIN)/python -m benchmarks.yardsticks

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
