# `make lab` opens the series, `make test` checks everything; both build .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)
# threads that wait for each other soon sleep, because other programs run beside them
export OMP_WAIT_POLICY ?= PASSIVE
export GOMP_SPINCOUNT ?= 2000
UNIT := tests --ignore=tests/benchmarks --ignore=tests/browser --ignore=tests/hostile
NUMERIC = $(shell grep -l mark.numeric tests/test_*.py)
ELSEWHERE := SSE41-1 SSE41-2 AVX2-1 AVX2-2
HALVES := notebooks-1 notebooks-2
PARTS ?= unit hostile notebooks

.PHONY: lab test unit unit-elsewhere $(ELSEWHERE) hostile notebooks $(HALVES) browser bench lint figures paintings gallery stamp colab site clean
.DEFAULT_GOAL := lab

$(VENV)/ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 10) or sys.exit("nstlib needs Python 3.10 or newer; say make PYTHON=python3.12")'
	@echo "Building $(VENV) (a few minutes the first time: PyTorch is large)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --disable-pip-version-check -e '.[lab,dev,export,video]'
	@touch $@

lab: $(VENV)/ready  ## open the series in JupyterLab
	$(BIN)/jupyter lab $(ROOT) notebooks/00_start_here.ipynb

test: $(addprefix part-,$(PARTS))  ## every test, and every notebook executed: all parts, even when one fails, and then a line for each
	@echo; cat $(addprefix build/parts/,$(PARTS)); ! grep -q FAILED $(addprefix build/parts/,$(PARTS))

# `make -j2 -Orecurse test` runs two parts beside each other; what each prints is kept together
part-%: $(VENV)/ready
	@mkdir -p build/parts; said=passed; start=$$(date +%s); \
	$(MAKE) --keep-going --no-print-directory $* || said=FAILED; \
	tenths=$$((($$(date +%s) - start + 3) / 6)); \
	printf '%-16s%s %4s.%s min\n' $* $$said $$((tenths / 10)) $$((tenths % 10)) >build/parts/$*

part-browser: $(addprefix part-,$(filter-out browser,$(PARTS)))  # alone: hands on a desk wait by the clock

unit: $(VENV)/ready  ## unit tests, under two minutes
	$(BIN)/python -m pytest $(UNIT)

unit-elsewhere: $(ELSEWHERE)  ## the numerical tests, as other x86 processors compute and with other numbers of threads

$(ELSEWHERE): $(VENV)/ready
	ATEN_CPU_CAPABILITY=$(if $(findstring AVX2,$@),avx2,default) ONEDNN_MAX_CPU_ISA=$(word 1,$(subst -, ,$@)) \
	TEST_THREADS=$(word 2,$(subst -, ,$@)) $(BIN)/python -m pytest -m numeric $(NUMERIC)

hostile: $(VENV)/ready  ## damaged files, killed runs, full disks, absurd numbers; prints what was survived
	$(BIN)/python -m pytest tests/hostile -rs

notebooks: $(VENV)/ready  ## execute every notebook and the solutions of its exercises, in copies
	$(BIN)/python tests/tools/with_solutions.py
	$(BIN)/python -m pytest --nbmake --nbmake-timeout=1200 -W default build/executed/notebooks

$(HALVES): $(VENV)/ready  # every other notebook: beside each other on two cores, for a second thread costs a third more
	$(BIN)/python tests/tools/with_solutions.py $(subst notebooks-,,$@)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --nbmake --nbmake-timeout=1200 -W default build/executed-$(subst notebooks-,,$@)/notebooks

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
