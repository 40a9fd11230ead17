# Every task of the project. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest -c conf/pytest.ini --rootdir . -n 2 --dist loadfile --no-loadscope-reorder
# Python compiles each module once, not in each process: the tests and Spark start hundreds of processes
unexport PYTHONDONTWRITEBYTECODE
# a framework that holds much memory and many threads gets processes without Spark, and Spark without it
NO_JVM := not (jvm or torch or tensorflow)
# first, so that at the end the other processes do not wait for it
LONGEST := tests/jobs/test_taste_updates.py
REQUIREMENTS := conf/requirements
PACKAGES := installer jobs without_dependencies
SAMPLE ?= sample
WAREHOUSE ?= warehouse
TRACKS ?= 500
RECORDINGS ?= 12

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.ready ## Make .venv with everything in it; seconds when nothing changed

.venv/.ready: $(addprefix $(REQUIREMENTS)/,$(addsuffix .txt,$(PACKAGES))) setup.py jobs/_engine/jars.py $(wildcard conf/spark/*)
	@$(MAKE) --no-print-directory prerequisites
	@test -x $(BIN)/uv || { echo "making .venv"; "$(PYTHON)" -m venv --clear .venv; \
		$(BIN)/python -m pip --disable-pip-version-check --quiet install --require-hashes -r $(REQUIREMENTS)/installer.txt; }
	@echo "installing the locked packages"
	@VIRTUAL_ENV=.venv $(BIN)/uv pip sync --quiet --require-hashes $(filter $(REQUIREMENTS)/%,$^)
	@VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m reprise.jobs._engine.jars
	@touch $@
	@echo "ready: $(BIN)/reprise --help"

prerequisites:
	@test -n "$(PYTHON)" && "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
		|| { echo "reprise needs Python 3.11: install it, or say where it is with make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "reprise needs Python's venv module: install your system's python3.11-venv package" >&2; exit 1; }
	@command -v java >/dev/null && java -version 2>&1 | awk -F '"' '/version/ {split($$2, v, "."); exit v[1] < 17}' \
		|| { echo "reprise needs Java 17 or newer on the PATH (Spark runs on it): install openjdk-17-jre-headless or the like" >&2; exit 1; }

demo: setup ## Compose a sample with audio, ingest it, learn covers, genres and tastes from it, and show some of them
	@$(BIN)/reprise make-sample --out $(SAMPLE) --tracks $(TRACKS) --audio $(RECORDINGS) --warehouse $(WAREHOUSE)
	@$(BIN)/reprise ingest-msd --source $(SAMPLE)/msd --warehouse $(WAREHOUSE)
	@$(BIN)/reprise ingest-annotations --source $(SAMPLE)/annotations --warehouse $(WAREHOUSE)
	@$(BIN)/reprise ingest-library --source $(SAMPLE)/library --warehouse $(WAREHOUSE)
	@$(BIN)/reprise extract-chroma --warehouse $(WAREHOUSE)
	@$(BIN)/reprise extract-genre-features --warehouse $(WAREHOUSE)
	@$(BIN)/reprise tag-tracks --warehouse $(WAREHOUSE)
	@$(BIN)/reprise train-cover-index --warehouse $(WAREHOUSE)
	@$(BIN)/reprise train-genre --features msd --labels msd_tagtraum --learner logistic_regression --folds 3 \
		--warehouse $(WAREHOUSE)
	@$(BIN)/reprise score-genres --warehouse $(WAREHOUSE)
	@$(BIN)/reprise build-taste-profiles --warehouse $(WAREHOUSE)
	@$(BIN)/reprise show-genres --warehouse $(WAREHOUSE) --truth $(SAMPLE)/annotations/truth_audio.csv
	@$(BIN)/reprise show-tables --warehouse $(WAREHOUSE)
	@set -- $$($(BIN)/python tests/planted.py $(SAMPLE)/annotations); \
		echo "$$1 is a recording of a song that the model was not trained on; in the dataset there are: $${*:2}"; \
		$(BIN)/reprise find-covers --warehouse $(WAREHOUSE) --plot $(SAMPLE)/cover.png --track $$1; \
		$(BIN)/reprise show-genres --warehouse $(WAREHOUSE) --plot $(SAMPLE)/genres.png --track $$1
	@$(BIN)/reprise show-taste --warehouse $(WAREHOUSE) --plot $(SAMPLE)/taste.png --user $$(ls $(SAMPLE)/library | head -n 1)
	@$(BIN)/reprise sql --warehouse $(WAREHOUSE) "SELECT * FROM genre_tempo ORDER BY tempo_mean"

lint: setup ## Check style and types
	@$(BIN)/ruff check --config conf/ruff.toml .
	@$(BIN)/ruff format --config conf/ruff.toml --check --quiet .
	@MYPYPATH=tests/bench $(BIN)/mypy --config-file conf/mypy.ini --explicit-package-bases .src/reprise tests \
		| sed 's|^\.src/reprise/||'

quick: lint ## Check style and types, run the tests that need no JVM and are not slow, with fewer examples
	@rm -f .cache/durations.json
	@$(PYTEST) --group quick --examples 0.2 -m "$(NO_JVM) and not (slow or exhaustive)" tests

# groups of tests, each in its own processes; the first that fails is the last
define run_groups
	@rm -f .cache/durations.json; trap '$(BIN)/python tests/durations.py' EXIT; \
	$(PYTEST) --group plain $(1) -m "$(NO_JVM) $(2)" tests; \
	$(PYTEST) --group torch $(1) -m "torch and not jvm $(2)" $$(grep -rlw torch tests --include='test_*.py'); \
	$(PYTEST) --group tensorflow $(1) -m "tensorflow and not jvm $(2)" $$(grep -rlw tensorflow tests --include='test_*.py'); \
	$(PYTEST) --group jvm $(1) -m "jvm $(2)" --ignore tests/lib $(LONGEST) tests
endef

test: lint ## Check style and types, run the tests
	$(call run_groups,,and not exhaustive)

test-all: export SPARK_SUBMIT_OPTS := -XX:TieredStopAtLevel=1 -XX:+UseSerialGC
test-all: lint ## The same with the exhaustive tests (jobs killed, writers at once, clusters), more examples, compiled Spark plans
	$(call run_groups,--examples 3,)

bench: setup ## Measure and keep the figures in tests/bench/; ONLY="search …" for a part
	@$(BIN)/python tests/bench/run.py $(ONLY)

zip: setup ## Make dist/reprise.zip, for --py-files
	@rm -rf build dist && mkdir -p dist
	@VIRTUAL_ENV=.venv $(BIN)/uv build --quiet --wheel --no-build-isolation --out-dir dist .
	@mv dist/reprise-*.whl dist/reprise.zip && echo dist/reprise.zip

tables: setup ## Write the README's table list anew from the contracts
	@$(BIN)/python tests/table_list.py README.md

questions: setup ## Ask the README's questions anew and write their answers into it
	@$(BIN)/python tests/question_list.py README.md

setup-airflow: ## Make .venv-airflow, Airflow's own environment
	@$(MAKE) --no-print-directory setup
	@test -x .venv-airflow/bin/python || "$(PYTHON)" -m venv --without-pip .venv-airflow
	@VIRTUAL_ENV=.venv-airflow $(BIN)/uv pip sync --quiet --require-hashes $(REQUIREMENTS)/airflow.txt
	@.venv-airflow/bin/airflow version

lock: setup ## Lock the requirement files anew
	@for name in $(PACKAGES) airflow; do $(BIN)/uv pip compile --directory $(REQUIREMENTS) --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
		--no-annotate --no-header --no-emit-index-url --no-emit-find-links $$([ $$name = without_dependencies ] && echo --no-deps) \
		$$name.in -o $$name.txt; done

clean: ## Remove what the tasks above made, but the environments
	@rm -rf build dist .cache $(SAMPLE) $(WAREHOUSE) spark-warehouse metastore_db derby.log

.PHONY: help setup prerequisites demo lint quick test test-all bench zip tables questions setup-airflow lock clean
