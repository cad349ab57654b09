# Everything here works on a fresh clone with Python >= 3.11 and make.
PYTHON ?= $(firstword $(foreach v,python3 python3.12 python3.13 python3.11,$(if $(shell $(v) -c "import sys; print(*[1][(3, 11) > sys.version_info[:2] or sys.version_info[:2] > (3, 13):])" 2>/dev/null),$(v))))
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
UV := $(shell command -v uv 2>/dev/null)

.PHONY: help setup demo test test-quick lint format bench models lock clean
help:           ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.installed  ## .venv with everything in it
$(VENV)/.installed: requirements.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "earshot: needs Python 3.11, 3.12 or 3.13: install one, or name it: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
ifneq ($(UV),)
	test -x $(BIN)/python || uv venv --quiet --python "$(PYTHON)" $(VENV)
	uv pip install --quiet --python $(BIN)/python -r requirements.txt
	uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
else
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
# uv takes a minute for what takes pip five; where pip cannot bring it, or it does not get at the packages, pip does all of it.
	$(PIP) install --quiet uv && $(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements.txt \
	  || $(PIP) install --quiet -r requirements.txt
	$(PIP) install --quiet --no-deps --no-build-isolation -e .
endif
	@touch $@

demo: setup     ## the whole pipeline on synthetic city sounds, ends with a report
	$(BIN)/earshot demo --out demo

# The tests start some hundred processes: with what Python compiled once kept, they take a quarter less.
test test-quick: export PYTHONDONTWRITEBYTECODE =
test: test-quick  ## every test
	$(BIN)/python -m pytest -m "slow and not alone" -n logical --dist worksteal
	$(BIN)/python -m pytest -m alone

test-quick: setup  ## the tests that take no time, two to four minutes
	$(BIN)/python -m pytest -m "not slow" -n logical --dist worksteal

lint: setup     ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup   ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup    ## every benchmark, floor and all, in one run
	$(BIN)/python -m bench

# What is trained for data/models. Short weights cost nothing that can be measured: docs/recipes.md.
FEATURES ?= features.tar.gz
CITY_HEAD ?= --background all --head wide
AUDIOSET_HEAD ?= --head attention --protocol split
PACK ?= --weights int8
models: setup   ## the models in data/models anew: make models FEATURES=features.tar.gz
	$(BIN)/earshot ingest features "$(FEATURES)" --split bal_train --out build/bal
	$(BIN)/earshot train build/bal --classes city10 $(CITY_HEAD) --out build/wide
	$(BIN)/earshot models pack build/wide $(PACK) --out data/models/city10
	$(BIN)/earshot train build/bal --classes audioset527 $(AUDIOSET_HEAD) --out build/audioset527
	$(BIN)/earshot models pack build/audioset527 $(PACK) --out data/models/audioset527
	$(BIN)/python -m pytest tests/app/test_models.py -k came_along

lock:           ## requirements.txt anew from pyproject.toml (needs uv)
	uv pip compile --upgrade --universal --python-version 3.11 --extra dev --no-emit-index-url --no-emit-find-links \
	  --custom-compile-command "make lock" --quiet pyproject.toml -o requirements.txt

clean:          ## remove what setup and demo made
	rm -rf $(VENV) demo build *.egg-info
