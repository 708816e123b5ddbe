# Every target makes the environment it needs in .venv; nothing has to be installed by hand but Python.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 2

.PHONY: demo test test-slow conformance opaque reliability frameworks extras browser check fuzz clean \
	bench bench-quick bench-add-scalar bench-sync bench-pull bench-view bench-viewers bench-growth bench-ls bench-scan \
	bench-export bench-bulk

demo: $(VENV)/demo.stamp
	@$(BIN)/bucketboard demo $(ARGS)

test: $(VENV)/test.stamp
	$(BIN)/python -m pytest -n $(JOBS) -m "not slow and not frameworks and not browser and not conformance" $(ARGS)

test-slow: $(VENV)/test.stamp
	$(BIN)/python -m pytest -n $(JOBS) -m slow $(ARGS)

# One suite on every S3 server that can run here; fails if one of them did not. Prints what each supports.
conformance: $(VENV)/test.stamp
	$(BIN)/python -m pytest -n $(JOBS) -m conformance tests/conformance $(ARGS)

# Writing and replicating behind a gateway that signs anew, with ETags that tell nothing of the bytes. With the long tests:
# make opaque ARGS="-m 'not frameworks and not browser'"
opaque: $(VENV)/test.stamp
	OPAQUE_ETAGS=1 $(BIN)/python -m pytest -n $(JOBS) -m "not slow and not frameworks and not browser" \
		tests/promises tests/logdir/test_sync.py tests/logdir/test_sync_killed.py tests/crashes $(ARGS)

# Kills, faults, load, bad inputs and a model: a table of what was done and what was lost, in docs/RELIABILITY.md.
reliability: $(VENV)/test.stamp
	$(BIN)/python bench/reliability.py $(ARGS)

# What the frameworks write, in an environment of its own, and our viewer beside an installed TensorFlow.
frameworks: $(VENV)/test.stamp $(VENV)-frameworks/stamp
	$(VENV)-frameworks/bin/python -m pytest -n $(JOBS) tests/frameworks $(ARGS)
	BUCKETBOARD_TENSORFLOW_PYTHON=$(CURDIR)/$(VENV)-frameworks/bin/python \
		$(BIN)/python -m pytest -n $(JOBS) -m frameworks tests/equality tests/logdir tests/runs $(ARGS)

# Each extra alone in a fresh environment: that it installs and works.
extras: $(VENV)/test.stamp
	$(BIN)/python tests/extras.py $(ARGS)

# A real browser: Debian's, taken as it is or installed when we are root. Pictures are left in build/browser.
browser: $(VENV)/test.stamp
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null \
		|| { [ "$$(id -u)" = 0 ] && apt-get update -qq \
			&& apt-get install -y -qq --no-install-recommends chromium chromium-driver; } \
		|| { echo "as root: apt-get install chromium chromium-driver" >&2; exit 1; }
	$(BIN)/python -m pytest -m browser tests/browser $(ARGS)

check: $(VENV)/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Every comparison, in an hour, on an idle machine; writes docs/BENCHMARKS.md. ARGS="--only bytes stolen": some.
bench: $(VENV)/test.stamp $(VENV)/s3fs/stamp
	$(BIN)/python bench/suite.py $(ARGS)

# Counts and ratios at small sizes, against generous guards.
bench-quick: $(VENV)/test.stamp $(VENV)/s3fs/stamp
	$(BIN)/python bench/suite.py --quick $(ARGS)

bench-add-scalar: $(VENV)/test.stamp
	$(BIN)/python bench/add_scalar.py $(ARGS)

bench-sync: $(VENV)/test.stamp
	$(BIN)/python bench/sync.py $(ARGS)

bench-pull: $(VENV)/test.stamp
	$(BIN)/python bench/pull.py $(ARGS)

bench-view: $(VENV)/test.stamp
	$(BIN)/python bench/view.py $(ARGS)

bench-viewers: $(VENV)/test.stamp
	$(BIN)/python bench/viewers.py $(ARGS)

bench-growth: $(VENV)/test.stamp
	$(BIN)/python bench/growth.py $(ARGS)

bench-ls: $(VENV)/test.stamp
	$(BIN)/python bench/ls.py $(ARGS)

bench-scan: $(VENV)/test.stamp
	$(BIN)/python bench/scan.py $(ARGS)

bench-export: $(VENV)/test.stamp
	$(BIN)/python bench/export.py $(ARGS)

bench-bulk: $(VENV)/test.stamp
	$(BIN)/python bench/bulk.py $(ARGS)

# All that is read from outside, for SECONDS altogether: the native scan with sanitizers, the rest by coverage.
# TARGETS: only these, of those in fuzz/run.
SECONDS ?= 300
fuzz: $(VENV)/fuzz.stamp
	fuzz/run $(SECONDS) $(TARGETS)

clean:
	rm -rf $(VENV) $(VENV)-frameworks build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "bucketboard needs Python 3.10 or newer: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
		|| { rm -rf $(VENV); echo "Python's venv module is missing: apt-get install python3-venv" >&2; exit 1; }

NATIVE := setup.py $(wildcard src/bucketboard/events/scan*.[ch])

$(VENV)/demo.stamp: pyproject.toml $(NATIVE) | $(BIN)/python
	@echo "installing into $(VENV) (once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo]'
	@touch $@

$(VENV)/test.stamp: pyproject.toml $(NATIVE) | $(BIN)/python
	@echo "installing into $(VENV) (once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@ $(VENV)/demo.stamp

# A peer of the benchmarks, beside the environment and not in it: it needs a botocore of its own.
$(VENV)/s3fs/stamp: $(VENV)/test.stamp
	@rm -rf $(VENV)/s3fs
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --target $(VENV)/s3fs s3fs
	@touch $@

$(VENV)/fuzz.stamp: $(VENV)/test.stamp
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[fuzz]'
	@touch $@

$(VENV)-frameworks/stamp: pyproject.toml tests/frameworks/requirements.txt | $(BIN)/python
	@echo "installing the frameworks into $(VENV)-frameworks (once, 5 GB) ..."
	@$(PYTHON) -m venv $(VENV)-frameworks
	@$(VENV)-frameworks/bin/python -m pip install --quiet --disable-pip-version-check \
		--requirement tests/frameworks/requirements.txt --editable .
	@touch $@
