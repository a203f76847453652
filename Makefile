# Each target sets up what it needs: run any of them first, twice, or alone.
PYTHON ?= python3
VENV ?= .venv
# TORCH=cpu, where there is no GPU: torch as its makers publish it without CUDA, and FAISS without it, 5 GB less. It counts
# where the folder is made: `make clean` before another.
TORCH ?=
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test lint bench soak docs clean

demo: $(VENV)/.installed
	$(BIN)/mmr demo --force

# A process a core, a thread each: small products on several threads wait for each other more than they work.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist worksteal

test: $(VENV)/.installed-dev
	$(PYTEST)

# Every fault point and every slow test, where `make test` takes a sample.
soak: $(VENV)/.installed-dev
	$(PYTEST) --soak

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

bench: $(VENV)/.installed .venv-peers/.installed
	for name in training exact durability indexing cold_query builtin; do $(BIN)/python -m eval.bench.$$name || exit 1; done

# The reference is made from the code first; the site is in site/, and a warning is an error.
docs: $(VENV)/.installed-docs
	$(BIN)/python -m docs.generate
	NO_MKDOCS_2_WARNING=true $(BIN)/mkdocs build --strict --quiet

# The stamps are written last, so an interrupted install is taken up again.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "mmr needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
ifeq ($(TORCH),cpu)
	$(PIP_INSTALL) --constraint constraints.txt --index-url $(TORCH_CPU_INDEX) torch torchvision || \
	  { echo "torch without CUDA is not to be had from $(TORCH_CPU_INDEX): leave out TORCH=cpu, or name another TORCH_CPU_INDEX"; exit 1; }
	$(BIN)/python -c 'import tomllib; all = tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"]; \
	  print(*["faiss-cpu" if one.startswith("faiss-gpu") else one for one in all], sep="\n")' > $(VENV)/without-cuda.txt
	$(PIP_INSTALL) --constraint constraints.txt --requirement $(VENV)/without-cuda.txt
	$(PIP_INSTALL) --no-deps --editable .
else
	$(PIP_INSTALL) --constraint constraints.txt --editable .
endif
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP_INSTALL) --constraint constraints.txt --editable '.[dev]'
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(PIP_INSTALL) --constraint constraints.txt --editable '.[docs]'
	touch $@

.venv-peers/.installed: eval/bench/peers.txt
	test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --requirement eval/bench/peers.txt
	.venv-peers/bin/python -m pip install --quiet hnswlib || echo "hnswlib needs a C++ compiler: measured without it"
	sed -n 's/^#@ //p' eval/bench/peers.txt | while read -r name packages; do \
	  python=$(PYTHON); test $$name != rclip || for newer in python3.12 python3.13 python3.14; do \
	    $$newer -c '' 2>/dev/null && python=$$newer; done; \
	  test -x .venv-peers/$$name/bin/python || $$python -m venv .venv-peers/$$name || exit 1; \
	  .venv-peers/$$name/bin/python -m pip install --quiet $$packages || exit 1; done
	touch $@

clean:
	rm -rf $(VENV) .venv-peers mmr-demo
