# Everything here works on a fresh clone with Python 3.11 and make.
PYTHON ?= python3
SOURCE ?=
DEMO_FLAGS ?=
PYTEST_FLAGS ?=
SOAK_FLAGS ?=
YES ?=
IMAGE ?=
# Tests wait for servers about as long as they compute, so use one process more than cores.
TEST_PROCESSES ?= 3

ROOT := $(abspath .)
UV := .tools/uv/bin/uv
BIN := .venv/bin
TRAINER_PYTHON := trainer/.venv/bin/python
SITE_PYTHON := site/.venv/bin/python

# Importing Airflow takes three times as long without bytecode.
unexport PYTHONDONTWRITEBYTECODE
unexport VIRTUAL_ENV
export UV_PYTHON_DOWNLOADS := never
export UV_NO_PROGRESS := 1

.DEFAULT_GOAL := help
.PHONY: help setup reference fab spark spark-for-tests demo up down env test check soak soak-pairs contract lint lock fmt docs notebook quick-start bench peers clean

help: ## show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(UV): requirements-uv.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else f"found Python {v[0]}.{v[1]}, expected 3.11 to 3.13; name another with make PYTHON=/path/to/python3.11")'
	@$(PYTHON) -m venv .tools/uv
	@.tools/uv/bin/pip install --quiet --require-hashes --requirement requirements-uv.txt
	@touch $(UV)

.venv/.synced: $(UV) pyproject.toml uv.lock
	@echo "setting up the pipeline's environment (.venv)"
	@$(UV) sync --quiet --locked --all-extras --compile-bytecode --python $(PYTHON)
	@touch $@

trainer/.venv/.synced: $(UV) pyproject.toml trainer/pyproject.toml trainer/uv.lock
	@echo "setting up the trainer's environment (trainer/.venv)"
	@$(UV) sync --quiet --locked --compile-bytecode --project trainer --python $(PYTHON)
	@touch $@

site/.venv/.synced: $(UV) pyproject.toml site/pyproject.toml site/uv.lock
	@echo "setting up the site's environment (site/.venv)"
	@$(UV) sync --quiet --locked --compile-bytecode --project site --python $(PYTHON)
	@touch $@

.tools/reference/.synced: $(UV) tests/reference/requirements.txt
	@echo "setting up the library that metrics are compared with (.tools/reference)"
	@{ $(UV) venv --quiet --clear --python $(PYTHON) .tools/reference \
		&& $(UV) pip install --quiet --python .tools/reference/bin/python --require-hashes --only-binary :all: \
			--requirement tests/reference/requirements.txt && touch $@; } \
		|| { rm -rf .tools/reference; echo "notice: it could not be installed; the test that needs it is skipped"; }

reference: .tools/reference/.synced

# Laid over the pipeline's environment, so that tests have exactly its Airflow.
.tools/fab/.synced: $(UV) tests/fab/requirements.txt
	@echo "setting up Airflow's manager of accounts for the tests of tenants (.tools/fab), 17 MB"
	@rm -rf .tools/fab
	@$(UV) pip install --quiet --python $(PYTHON) --target .tools/fab --no-deps --require-hashes \
		--only-binary :all: --requirement tests/fab/requirements.txt
	@touch $@

fab: .tools/fab/.synced

.tools/peers/.synced: $(UV) tests/peers/requirements.txt
	@echo "setting up the libraries that the models are compared with (.tools/peers), 600 MB"
	@$(UV) venv --quiet --clear --python $(PYTHON) .tools/peers
	@$(UV) pip install --quiet --python .tools/peers/bin/python --require-hashes --only-binary :all: \
		--requirement tests/peers/requirements.txt
	@touch $@

peers: .tools/peers/.synced

spark/.venv/.synced: $(UV) pyproject.toml spark/pyproject.toml spark/uv.lock
	@echo "setting up Spark's environment (spark/.venv), 500 MB"
	@$(UV) sync --quiet --locked --compile-bytecode --project spark --python $(PYTHON)
	@touch $@

spark: spark/.venv/.synced ## create Spark's environment, for features on a cluster (needs Java 17)

# Optional for tests: without Java or Spark, the tests of Spark are skipped.
spark-for-tests: $(UV)
	@if command -v java >/dev/null || [ -n "$$JAVA_HOME" ]; then $(MAKE) --no-print-directory spark \
		|| echo "notice: Spark could not be installed; its tests are skipped"; \
	else echo "notice: Java is not installed; the tests of Spark are skipped"; fi

setup: .venv/.synced trainer/.venv/.synced site/.venv/.synced ## create the three locked environments (other targets do this themselves)

demo: .venv/.synced trainer/.venv/.synced ## run the whole pipeline once: make demo [SOURCE=path-or-URL] [RECOMMENDER=name]
	@$(BIN)/recsys $(if $(RECOMMENDER),-r "$(RECOMMENDER)") demo $(if $(SOURCE),--source "$(SOURCE)") $(DEMO_FLAGS)

up: setup ## start Airflow, the site, PostgreSQL and S3, and leave them running
	@$(BIN)/recsys up

down: setup ## stop what `make up` started
	@$(BIN)/recsys down

env: ## write .env with random passwords for docker-compose.yaml
	@$(PYTHON) docker/make_env.py

test: setup reference fab spark-for-tests ## run all tests: unit, integration, end to end
	@sh tests/install_programs.sh chromium pgbouncer promtool=prometheus docker-compose prometheus-postgres-exporter
	@PYTEST_FLAGS="$(PYTEST_FLAGS)" TEST_PROCESSES="$(TEST_PROCESSES)" $(BIN)/python -m tests.run_suites test

check: setup ## formatting, ruff, types, import rules and unit tests: the quick check of a change
	@PYTEST_FLAGS="$(PYTEST_FLAGS)" $(BIN)/python -m tests.run_suites check

soak: setup ## kill operations at random instants under readers (5 minutes): make soak [SOAK_FLAGS="--seed 7"]
	@$(BIN)/python -m tests.chaos.soak $(SOAK_FLAGS)

soak-pairs: setup ## damage a world in every pair of kinds (an hour): make soak-pairs [SOAK_FLAGS="--minutes 30"]
	@$(BIN)/python -m tests.chaos.pairs $(SOAK_FLAGS)

contract: setup ## test the trainer against its contract; of an image: make contract IMAGE=name
	@IMAGE="$(IMAGE)" $(TRAINER_PYTHON) -m pytest $(PYTEST_FLAGS) --rootdir trainer tests/contract

lint: setup ## formatting, ruff, types, import rules, workflows, scripts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/mypy --python-executable $(TRAINER_PYTHON) trainer verifier examples
	@$(BIN)/mypy --python-executable $(SITE_PYTHON) site
	@$(BIN)/lint-imports
	@PYTHONPATH=provider $(BIN)/lint-imports --config provider/pyproject.toml
	@$(BIN)/zizmor --quiet --offline .github/workflows
	@$(BIN)/shellcheck .ci/run $$(find docker tests -name '*.sh')

lock: $(UV) ## update all lock files from the pyproject files, and the requirements of tests
	@for project in . trainer site spark; do $(UV) lock --project $$project || exit 1; done
	@for name in reference peers; do \
		$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
			--output-file tests/$$name/requirements.txt tests/$$name/requirements.in || exit 1; done
	@sh tests/fab/lock.sh $(UV)

fmt: setup ## format the code and apply ruff's fixes
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

quick-start: .venv/.synced ## follow docs/quick-start.md on a fresh clone with an empty HOME
	@$(BIN)/python -m tests.follow_quick_start

notebook: setup ## open notebooks/explore.ipynb, which explores a release, in JupyterLab
	@$(UV) run --locked --all-extras --group jupyter jupyter lab notebooks/explore.ipynb

docs: setup ## write the pages that are made from code: commands, build settings
	@$(BIN)/python -m docs.make_commands
	@$(BIN)/python -m docs.make_build_settings

BENCHMARKS ?= switching training

bench: setup $(if $(filter peers,$(BENCHMARKS)),peers) ## run benchmarks (10 minutes), write JSON to build/bench; others: BENCHMARKS="site peers"
	@mkdir -p build/bench
	@$(BIN)/recsys bench --ratings 1000000 --out build/bench/data.json
	@for name in $(BENCHMARKS); do echo "$$name"; \
		$(BIN)/python -m tests.benchmarks.bench_$$name build/bench/$$name.json || exit 1; done

clean: ## remove environments, caches and the embedded stack's releases; asks first (YES=1: does not)
	@if [ -d .recsys ] && [ "$(YES)" != 1 ]; then \
		if [ ! -t 0 ]; then echo "make clean deletes .recsys with all its releases; add YES=1" >&2; exit 2; fi; \
		printf "Delete .recsys with all its releases, and the environments? [y/N] "; \
		read answer; case "$$answer" in y|Y|yes) ;; *) echo "nothing was deleted"; exit 1;; esac; fi
	@if [ -x $(BIN)/recsys ]; then $(BIN)/recsys down || true; fi
	rm -rf .venv trainer/.venv site/.venv spark/.venv .tools .recsys .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
