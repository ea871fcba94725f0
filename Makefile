# Two commands do everything: `make run` starts Vitrine, `make test` proves it works.
# Each target is one line that calls the tool; the first ones make the environment they need.

VENV   := .venv
PYTHON ?= python3
PY     := $(VENV)/bin/python
PIP     = $(PY) -m pip install --disable-pip-version-check -c constraints.txt
TESTS  ?= tests
JOBS   ?= 2

.DEFAULT_GOAL := help
.PHONY: help run test check fmt bench screenshots up down clean browser

help: ## List the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(PY):
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(PY) pyproject.toml constraints.txt
	@echo "Installing Vitrine into $(VENV). The first time this takes a few minutes: torch is large."
	$(PIP) -e ".[web,worker,captions,redis]"
	@touch $@

$(VENV)/installed-dev: $(PY) pyproject.toml constraints.txt
	@echo "Installing Vitrine and its test tools into $(VENV). The first time this takes a few minutes: torch is large."
	$(PIP) -q -e ".[web,worker,captions,redis,dev]"
	@touch $@ $(VENV)/installed

run: $(VENV)/installed ## Start Redis, a worker and the page; prints the address
	$(VENV)/bin/vitrine up

browser: ## Make sure that a Chromium is there for the browser tests
	sh tests/install_browser.sh

test: $(VENV)/installed-dev browser ## Everything: lint, types, contracts, unit, integration, browser
	$(MAKE) --no-print-directory static
	$(PY) -m pytest $(TESTS) -n $(JOBS) --dist loadgroup

check: $(VENV)/installed-dev static ## Lint, types, import contracts and the fast tests
	$(PY) -m pytest tests/unit tests/architecture -n $(JOBS) -m "not slow and not redis and not browser" -q

static: $(VENV)/installed-dev
	$(VENV)/bin/ruff format --check -q . && $(VENV)/bin/ruff check -q .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

fmt: $(VENV)/installed-dev ## Format and fix what can be fixed
	$(VENV)/bin/ruff format . && $(VENV)/bin/ruff check --fix .

bench: $(VENV)/installed-dev ## Measure; prints ratios against other implementations
	$(PY) -m benchmarks

screenshots: $(VENV)/installed-dev ## Draw the pictures of the documentation in a real browser
	$(PY) -m docs.screenshots

up: ## Start the containers
	docker compose up --build -d

down: ## Stop the containers
	docker compose down

clean: ## Remove the environment and what was computed
	rm -rf $(VENV) var .mypy_cache .ruff_cache .pytest_cache
