# demo: the whole chain on the embedded data.  test-fast, test, test-slurm, test-long, lint: the checks.
# lock: resolve envs/requirements.in again.  ui: browse the demo's runs in MLflow.
# docs-pictures: the pictures of README and docs, from finished results (PLAN: of a sweep, for its pictures too).
.PHONY: demo ui docs-pictures test-fast test test-slurm test-long lint lock env
.DEFAULT_GOAL := demo
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
CONFIG ?= configs/demo.yaml
PORT ?= 5000
EXPERIMENT = $(basename $(notdir $(CONFIG)))
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := true

env: $(VENV)/.ready

$(VENV)/.ready: envs/lock.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not on the PATH; name it: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check "$$(grep -oE '^uv==[^ ]+' envs/lock.txt)"
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip sync --quiet --compile-bytecode --require-hashes envs/lock.txt
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

# One run of a folder at a time (vlp/launch/writers.py); the lock goes with its process, so --nolock: nothing has to be
# unlocked after a kill.
demo: env
	$(BIN)/snakemake --profile workflow/profiles/default --nolock --configfile $(CONFIG)
	@echo "The report: results/$(EXPERIMENT)/report.html    The runs: make ui"

ui: env
	$(BIN)/vlp tracking ui --config $(CONFIG) --port $(PORT)

docs-pictures: env
	$(BIN)/python -m tools.pictures --config results/$(EXPERIMENT)/experiment.yaml $(if $(PLAN),--plan $(PLAN))

# No chain, no processes, no DeepSpeed (tests/guard.py).
test-fast: env
	$(BIN)/python -m pytest -m "not slow and not slurm and not long" --durations=8

test: env
	$(BIN)/python -m pytest --durations=8

test-slurm: env
	$(BIN)/python -m pytest -m "slurm and not long" --durations=8

test-long: env
	$(BIN)/python -m pytest -m long --durations=8

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/snakefmt --check workflow Snakefile
	$(BIN)/snakemake --lint --configfile configs/smoke.yaml

lock: env
	$(BIN)/uv pip compile --generate-hashes --no-emit-index-url --python-version 3.11 --custom-compile-command "make lock" \
	  envs/requirements.in --output-file envs/lock.txt
