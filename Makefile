# make study [STUDY=quick DATA=… HAM10000=… ISIC2018=… WEIGHTS=… THREADS=…]
# make test [THREADS=…]   make lab   make refs   make lock   make bench [ROWS=decode,epoch,…]
# GPU=1 with any of them adds CUDA's libraries for TensorFlow, once.
STUDY ?= quick
PYTHON ?= python3
BIN = .venv/bin
SETTING = $(if $(THREADS),LESION_THREADS=$(THREADS))
READY = $(if $(GPU),.venv/gpu,.venv/installed)
OPTIONS = $(if $(DATA),--data "$(DATA)") $(if $(HAM10000),--ham10000 "$(HAM10000)") \
          $(if $(ISIC2018),--isic2018 "$(ISIC2018)") \
          $(if $(WEIGHTS),--weights "$(WEIGHTS)") $(if $(THREADS),--threads $(THREADS))

study: $(READY)
	$(BIN)/lesion study $(STUDY) $(OPTIONS)

test: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(SETTING) $(BIN)/pytest tests
	$(SETTING) $(BIN)/pytest --nbval --nbval-current-env --nbval-cell-timeout 300 -p no:cacheprovider notebooks

lab: $(READY)
	$(BIN)/jupyter lab notebooks

# Executes the notebooks at their committed values and stores their text outputs, which `make test` compares.
refs: $(READY)
	$(BIN)/lesion refs

# Minutes on a machine that does nothing else; renews benchmarks/speed.json and the table in docs/performance.md.
bench: $(READY)
	$(BIN)/python -m benchmarks.speed

.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else "make needs Python 3.11 to 3.13, found %d.%d; say which: make PYTHON=python3.12 …" % v)'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

# The extra [gpu] of pyproject.toml, with the TensorFlow of the lock; it goes with its .venv.
.venv/gpu: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check "tensorflow[and-cuda]==$$(sed -n 's/^tensorflow==\([^ ;]*\).*/\1/p' requirements.lock)"
	touch $@

lock:
	uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --extra dev --python-version 3.11 --custom-compile-command "make lock" pyproject.toml -o requirements.lock

.PHONY: study test lab refs lock bench
