# Winnow: `make demo` shows it, `make test` proves it. Both set up .venv first if needed.

VENV ?= .venv
PY := $(VENV)/bin/python
# The stamp is renewed when a lock file or the packaging changes.
READY := $(VENV)/.winnow-accelerator

.PHONY: demo test test-parity chaos check check-infra format bench lock clean

demo: $(READY)  ## score a small corpus with a real model on this machine, and report
	@$(PY) -m jobs.demo

test: $(READY)  ## the whole test suite, with real vLLM and real Ray
	$(PY) -m pytest

test-parity: $(READY) .venv-lm-eval/.ready  ## slow: the trained model against lm-evaluation-harness and itself
	$(PY) -m pytest -m parity -s tests/parity

MINUTES ?= 10
chaos: $(READY)  ## kill engines, machines and drivers for MINUTES (10); SEED repeats a run
	$(PY) -m tests.chaos --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

# Beside the environment, not in it: only what the lock file of Winnow does not have already.
.venv-lm-eval/.ready: infra/requirements/lm-eval.lock
	rm -rf $(@D)
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --target $(@D) -r $<
	touch $@

check: $(READY)  ## lint, format and types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

check-infra: $(READY) .venv-infra/.ready  ## infra/ with the tools that will read it; says which are missing
	PATH=$(CURDIR)/.venv-infra/bin:$$PATH $(PY) -m pytest tests/test_infra.py tests/test_monitoring.py \
	    tests/test_run_night.py tests/integration/test_prometheus.py

.venv-infra/.ready: infra/check-tools.txt
	$(PY) -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check --only-binary :all: -r $<
	touch $@

format: $(READY)
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

bench: $(READY)  ## winnow score against a bare LLM.generate loop over the same tokens
	$(PY) tests/benchmarks/bench_score.py

lock:  ## regenerate infra/requirements/*.lock
	infra/lock.sh

$(READY): infra/setup.sh infra/requirements/cpu.lock infra/requirements/gpu.lock pyproject.toml
	@VENV=$(VENV) infra/setup.sh

clean:
	rm -rf $(VENV) .venv-lm-eval .venv-infra .mypy_cache .pytest_cache .ruff_cache winnow_ppl.egg-info
