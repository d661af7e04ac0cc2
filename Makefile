PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)

.DEFAULT_GOAL := help
.PHONY: help install install-run demo test test-safety notebooks format train benchmark bench

help: ## list what can be done
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## (.*)/\1|\2/' | awk -F'|' '{ printf "make %-12s %s\n", $$1, $$2 }'

# A stamp file says what is installed, so that the installation runs again only when its list changes.
$(VENV)/.installed-run: requirements-run.txt pyproject.toml
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	@echo "installing what a run needs into $(VENV): some 800 MB"
	$(BIN)/python -m pip install --quiet -r requirements-run.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

$(VENV)/.installed: requirements.txt $(VENV)/.installed-run
	@echo "installing torch and Jupyter: minutes, and on Linux some 5 GB with torch's CUDA libraries"
	$(BIN)/python -m pip install --quiet -r requirements.txt
	touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	touch $@

$(VENV)/.installed-bench: requirements-bench.txt $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -r requirements-bench.txt
	touch $@

install: $(VENV)/.installed ## make the virtual environment .venv and install everything, torch and Jupyter too

install-run: $(VENV)/.installed-run ## the same with what finding duplicates needs, without torch and Jupyter

demo: install-run ## write the sample pictures, find their duplicates, say where to look
	$(BIN)/python -m dedup.dataset.samples samples
	$(BIN)/python main.py samples --output results

test: $(VENV)/.installed-dev ## lint, then all tests and notebooks (set DEDUP_DATA for those on real pictures)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile

test-safety: $(VENV)/.installed-dev ## the long tests: deletion killed at every step, hostile files
	$(BIN)/python -m pytest -m slow

notebooks: $(VENV)/.installed-dev ## run the notebooks in place and strip what changes from run to run
	$(BIN)/python -m dedup.dataset.samples samples
	$(BIN)/python -m tests.refresh_notebooks

format: $(VENV)/.installed-dev ## let ruff repair and format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The two settings spare glibc page faults, which halves the time on a CPU; elsewhere they do nothing.
train: install ## train the default encoder on the photos of DEDUP_DATA (hours on a CPU)
	MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=17179869184 \
	$(BIN)/python -m dedup.training "$${DEDUP_DATA:?set it to the folder that holds train/}/train"

benchmark: $(VENV)/.installed-bench ## measure on the pictures of DEDUP_DATA, beside other tools (minutes)
	$(BIN)/python -m benchmarks.benchmark

bench: $(VENV)/.installed-bench ## measure time and memory beside other programs, on the pictures of DEDUP_DATA (an hour)
	$(BIN)/python -m benchmarks.speed
