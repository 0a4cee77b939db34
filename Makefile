# Needs Python 3.11 or later, make and the package registries; all else is put into .venv.

PYTHON ?= python3
BIN := .venv/bin
UV := $(shell command -v uv || echo $(BIN)/uv)
PROJECTS := shared infra $(patsubst %/pyproject.toml,%,$(wildcard services/*/pyproject.toml))
TESTED := $(sort $(dir $(wildcard $(PROJECTS:%=%/tests/*.py))))
READY := .venv/ready

.DEFAULT_GOAL := help
.PHONY: help setup run demo seed reset bench bench-messaging load test check fmt generated lock clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 18

setup: $(READY) ## install everything into .venv; the other targets do it when needed

run: $(READY) ## start the system: EXCEPT=order leaves a service out, BROKER=pulsar or memory instead of Kafka
	@$(BIN)/python -m cli run $(if $(EXCEPT),--except $(EXCEPT)) $(if $(BROKER),--broker $(BROKER))

demo: $(READY) ## watch orders travel through the running system
	@$(BIN)/python -m cli demo

seed: $(READY) ## put products into the running system: SIZE=1000
	@$(BIN)/python -m cli seed $(if $(SIZE),--size $(SIZE))

reset: $(READY) ## delete all data and secrets of the stopped system; it asks first
	@$(BIN)/python -m cli reset

bench: $(READY) ## measure what an order costs, in a system of its own: N=400 C=32 BROKER=pulsar FAULTS=harsh KILL=broker
	@$(BIN)/python -m loadtests.bench $(if $(N),--orders $(N)) $(if $(C),--concurrency $(C)) \
	    $(if $(BROKER),--broker $(BROKER)) $(if $(FAULTS),--faults $(FAULTS)) \
	    $(if $(KILL),--kill-$(KILL)) $(ARGS)

bench-messaging: $(READY) ## measure what a message costs on each broker, beside a hand-written path: ARGS="--brokers kafka --backlog 0"
	@$(BIN)/python -m loadtests.messaging $(ARGS)

load: $(READY) ## put the running system under load and audit it: USERS=50 SPAWN=10 TIME=2m MIX=everyday PROCESSES=1
	@$(BIN)/python -m loadtests.run_load $(if $(USERS),--users $(USERS)) $(if $(SPAWN),--spawn $(SPAWN)) \
	    $(if $(TIME),--time $(TIME)) $(if $(MIX),--mix $(MIX)) $(if $(PROCESSES),--processes $(PROCESSES)) $(ARGS)

test: $(READY) ## run all tests, on real servers that they start themselves: ARGS="services/order -x", LONG=1 for long outages and a million rows
	@$(BIN)/python -m pytest -n auto $(if $(LONG),,-m "not long") $(ARGS)

check: $(READY) ## format, lint, types, architecture, migrations, contracts, generated files, lock: offline
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/ruff check --quiet
	@$(BIN)/python -m tools.rules
	@$(BIN)/python -m tools.lock
	@$(BIN)/python -m tools.migrations
	@$(BIN)/lint-imports
	@$(BIN)/python -m tools.generate --check
	@$(BIN)/mypy
	@for folder in $(TESTED); do $(BIN)/mypy $$folder*.py || exit 1; done

fmt: $(READY) ## format the code and repair what ruff can
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

generated: $(READY) ## write what follows from the code: schemas of messages, docs/api, pages in docs/, the map in README
	@$(BIN)/python -m tools.generate

lock: $(READY) ## resolve the dependencies into requirements.lock: ARGS=--upgrade takes the newest
	@$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	    --no-emit-find-links --no-emit-package shared --custom-compile-command "make lock" $(ARGS) \
	    --group dev $(PROJECTS:%=%/pyproject.toml) --output-file requirements.lock

clean: ## remove .venv and every cache
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.13")'
	@$(PYTHON) -m venv .venv

# uv is locked like everything else, so that the copy in .venv survives the sync.
$(READY): requirements.lock pyproject.toml $(PROJECTS:%=%/pyproject.toml) | $(BIN)/python
	@test -x "$(UV)" || $(BIN)/python -m pip install --quiet --no-deps "$$(grep -o '^uv==[0-9.]*' requirements.lock)"
	@$(UV) pip sync --python $(BIN)/python --quiet requirements.lock
	@$(UV) pip install --python $(BIN)/python --quiet --no-deps $(PROJECTS:%=-e ./%)
	@touch $@
