# `make lab` opens the series, `make test` checks everything; both build .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)

.PHONY: lab test unit hostile notebooks browser bench lint figures paintings gallery stamp colab html clean
.DEFAULT_GOAL := lab

$(VENV)/ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 10) or sys.exit("nstlib needs Python 3.10 or newer; say make PYTHON=python3.12")'
	@echo "Building $(VENV) (a few minutes the first time: PyTorch is large)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --disable-pip-version-check -e '.[lab,dev,export]'
	@touch $@

lab: $(VENV)/ready  ## open the series in JupyterLab
	$(BIN)/jupyter lab $(ROOT) notebooks/00_start_here.ipynb

test: unit hostile notebooks  ## every test, and every notebook executed

unit: $(VENV)/ready  ## unit tests, under two minutes
	$(BIN)/python -m pytest tests --ignore=tests/benchmarks --ignore=tests/browser --ignore=tests/hostile

hostile: $(VENV)/ready  ## damaged files, killed runs, full disks, absurd numbers; prints what was survived
	$(BIN)/python -m pytest tests/hostile -rs

notebooks: $(VENV)/ready  ## execute every notebook and the solutions of its exercises, in copies
	$(BIN)/python tests/with_solutions.py
	$(BIN)/python -m pytest --nbmake --nbmake-timeout=1200 -W default build/executed/notebooks

browser: $(VENV)/ready  ## open the desks in JupyterLab and move their sliders; skips without chromium
	$(BIN)/python -m pytest tests/browser -rs

bench: $(VENV)/ready  ## measure speed and memory; prints the README's tables
	$(BIN)/python -m pytest tests/benchmarks --benchmark-enable -s

lint: $(VENV)/ready
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

figures: $(VENV)/ready  ## run the .py sources and store them, with pictures, as .ipynb
	$(BIN)/python tests/build_notebooks.py

paintings: $(VENV)/ready  ## paint the bundled style pictures anew
	$(BIN)/python data/paint.py

gallery: $(VENV)/ready  ## paint the README's gallery anew
	$(BIN)/python data/gallery.py

stamp: $(VENV)/ready  ## make stamp REPO=owner/name: say where the repository is published
	$(BIN)/python tests/stamp.py "$(REPO)"

colab: $(VENV)/ready  ## every notebook as on Colab: its versions, nstlib installed by the first cell
	$(BIN)/python tests/colab.py

html: $(VENV)/ready  ## the series as a small static site, build/html
	$(BIN)/python tests/build_html.py

clean:
	rm -rf $(VENV) build *.egg-info
