# make study [STUDY=quick DATA=… HAM10000=… ISIC2018=… WEIGHTS=… THREADS=… FULL=1 VERBOSE=1 QUIET=1 WHERE=slurm SNAKEMAKE='…']
#           STUDY may hold several names: STUDY="a b"
# make verify [STUDY=…]   make test [THREADS=…]   make test-fast   make test-pythons   make slurm-test   make lab
# make refresh-notebooks   make lock   make bench   make faults
# GPU=1 with any of them adds CUDA's libraries for TensorFlow, once.
STUDY ?= quick
PYTHON ?= python3
VENV = .venv
BIN = $(VENV)/bin
PIP = $(BIN)/pip install --disable-pip-version-check
SIDE_BY_SIDE = -n 2 --dist loadfile --no-loadscope-reorder
SETTING = $(if $(THREADS),LESION_THREADS=$(THREADS))
READY = $(if $(GPU),$(VENV)/gpu,$(VENV)/installed)
OPTIONS = $(if $(DATA),--data "$(DATA)") $(if $(HAM10000),--ham10000 "$(HAM10000)") \
          $(if $(ISIC2018),--isic2018 "$(ISIC2018)") \
          $(if $(WEIGHTS),--weights "$(WEIGHTS)") $(if $(THREADS),--threads $(THREADS)) \
          $(if $(FULL),--full) $(if $(VERBOSE),--verbose) $(if $(QUIET),--quiet) \
          $(if $(WHERE),--where "$(WHERE)") $(if $(SNAKEMAKE),--snakemake='$(SNAKEMAKE)')

# Without `exec`, a signal that make passes on would end a shell alone.
study: $(READY)
	@exec $(BIN)/lesion study "$(STUDY)" $(OPTIONS)

test: check $(READY)
	$(SETTING) $(BIN)/pytest --nbval --nbval-current-env --nbval-cell-timeout 300 -p no:cacheprovider notebooks
	$(SETTING) $(BIN)/pytest $(SIDE_BY_SIDE) tests

# Judges tracked tables again and compares with the tracked results.
verify: $(READY)
	@$(BIN)/lesion verify $(if $(filter command line,$(origin STUDY)),"$(STUDY)")

# Under 3 minutes on two cores: no training, no browser, no installation, no whole study, no real data, no test of seconds.
test-fast: check $(READY)
	$(SETTING) $(BIN)/pytest $(SIDE_BY_SIDE) tests -m "not slow and not browser and not real_data"

# `make test-fast` with each Python of the package that is installed, by itself or by pyenv, in an environment of its own.
test-pythons:
	@for version in 3.11 3.12 3.13; do \
	  python=$$(ls -d "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/$$version.*/bin/python 2>/dev/null | tail -n 1); \
	  python=$${python:-$$(command -v python$$version)}; \
	  if [ -z "$$python" ]; then echo "left out: Python $$version is not installed"; \
	  else $(MAKE) test-fast VENV=.venv-$$version PYTHON="$$python" || exit; fi; \
	done

# Starts a Slurm of one node in a temporary folder. Needs Debian's slurm-wlm, munge, slurmdbd and mariadb-server.
slurm-test: $(READY)
	$(BIN)/pytest -n 2 -m slurm tests/test_slurm.py

check: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# Root may open JupyterLab only if told so; in a container everybody is root.
lab: $(READY)
	$(BIN)/jupyter lab --LabApp.default_url=/lab/tree/notebooks/explore.ipynb $(if $(filter 0,$(shell id -u)),--allow-root)

# Executes the notebooks at their committed values and stores their outputs; `make test` compares the text.
refresh-notebooks: $(READY)
	$(BIN)/lesion refresh-notebooks

refs:
	@echo "make refs is now: make refresh-notebooks" >&2; exit 2

# Takes minutes and needs an idle machine; renews benchmarks/speed.json and the table in docs/performance.md.
bench: $(READY)
	$(BIN)/python -m benchmarks.speed

# Damages files, kills and stops runs, generates input: an hour; renews benchmarks/reliability.json and its page.
faults: $(READY)
	LESION_KILLS=50 LESION_INPUTS=10000 LESION_FAULTS=benchmarks/reliability.json $(BIN)/pytest tests/faults
	$(BIN)/python -m benchmarks.reliability

$(VENV)/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else "make needs Python 3.11 to 3.13, found %d.%d. Fix: make PYTHON=python3.12 …" % v)'
	@echo "Installing the packages of requirements.lock into $(VENV): about 2 GB, minutes, only once."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) --no-deps -e .
	@touch $@

# The extra [gpu] of pyproject.toml, with the TensorFlow of the lock; it goes with its .venv.
$(VENV)/gpu: $(VENV)/installed
	@echo "Installing CUDA's libraries for TensorFlow into $(VENV): gigabytes, only once."
	@$(PIP) "tensorflow[and-cuda]==$$(sed -n 's/^tensorflow==\([^ ;]*\).*/\1/p' requirements.lock)"
	@touch $@

lock:
	uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --extra study --extra dev --python-version 3.11 --custom-compile-command "make lock" pyproject.toml -o requirements.lock

.PHONY: study verify test test-fast test-pythons slurm-test check lab refresh-notebooks refs lock bench faults
