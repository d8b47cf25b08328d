# `make lab` opens the series, `make test` checks everything; both build .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)
# threads that wait for each other soon sleep, because other programs run beside them
export OMP_WAIT_POLICY ?= PASSIVE
export GOMP_SPINCOUNT ?= 1000
UNIT := tests --ignore=tests/benchmarks --ignore=tests/browser --ignore=tests/hostile
PARTS ?= unit hostile notebooks

.PHONY: lab test unit unit-elsewhere hostile notebooks browser bench lint figures paintings gallery stamp colab site clean
.DEFAULT_GOAL := lab

$(VENV)/ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 10) or sys.exit("nstlib needs Python 3.10 or newer; say make PYTHON=python3.12")'
	@echo "Building $(VENV) (a few minutes the first time: PyTorch is large)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --disable-pip-version-check -e '.[lab,dev,export,video]'
	@touch $@

lab: $(VENV)/ready  ## open the series in JupyterLab
	$(BIN)/jupyter lab $(ROOT) notebooks/00_start_here.ipynb

test: $(VENV)/ready  ## every test, and every notebook executed: all parts, even when one fails, and then a line for each
	@report=; failed=0; for part in $(PARTS); do \
	  said=passed; start=$$(date +%s); $(MAKE) --no-print-directory $$part || { said=FAILED; failed=1; }; \
	  tenths=$$((($$(date +%s) - start + 3) / 6)); \
	  report="$$report$$(printf '%-16s%s %4s.%s min' $$part $$said $$((tenths / 10)) $$((tenths % 10)))\n"; \
	done; printf "\n$$report"; exit $$failed

unit: $(VENV)/ready  ## unit tests, under two minutes
	$(BIN)/python -m pytest $(UNIT)

unit-elsewhere: $(VENV)/ready  ## the numerical tests, as other x86 processors compute and with other numbers of threads
	@failed=0; for isa in default/SSE41 avx2/AVX2; do for threads in 1 2; do \
	  echo "ATEN_CPU_CAPABILITY=$${isa%/*} ONEDNN_MAX_CPU_ISA=$${isa#*/} TEST_THREADS=$$threads"; \
	  ATEN_CPU_CAPABILITY=$${isa%/*} ONEDNN_MAX_CPU_ISA=$${isa#*/} TEST_THREADS=$$threads \
	  $(BIN)/python -m pytest -m numeric $(UNIT) || failed=1; \
	done; done; exit $$failed

hostile: $(VENV)/ready  ## damaged files, killed runs, full disks, absurd numbers; prints what was survived
	$(BIN)/python -m pytest tests/hostile -rs

notebooks: $(VENV)/ready  ## execute every notebook and the solutions of its exercises, in copies
	$(BIN)/python tests/tools/with_solutions.py
	$(BIN)/python -m pytest --nbmake --nbmake-timeout=1200 -W default build/executed/notebooks

browser: $(VENV)/ready  ## hands on the desks in JupyterLab and on the site's playground; skips without chromium
	$(BIN)/python -m pytest tests/browser -rs

bench: $(VENV)/ready  ## measure speed and memory; prints the README's tables
	$(BIN)/python -m pytest tests/benchmarks --benchmark-enable -s

lint: $(VENV)/ready
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

figures: $(VENV)/ready  ## run the .py sources and store them, with pictures, as .ipynb
	$(BIN)/python tests/tools/build_notebooks.py

paintings: $(VENV)/ready  ## paint the bundled style pictures anew
	$(BIN)/python data/paint.py

gallery: $(VENV)/ready  ## paint the README's gallery anew
	$(BIN)/python data/gallery.py

stamp: $(VENV)/ready  ## make stamp REPO=owner/name: say where the repository is published
	$(BIN)/python tests/tools/stamp.py "$(REPO)"

colab: $(VENV)/ready  ## every notebook as on Colab: its versions, nstlib installed by the first cell
	$(BIN)/python tests/tools/colab.py

site: $(VENV)/ready  ## the series as pages, with a playground that paints in the browser: build/site; needs npm
	$(BIN)/python -W ignore tests/tools/build_site.py

clean:
	rm -rf $(VENV) build *.egg-info
