# Winnow: `make demo` shows it, `make test` proves it. Both set up .venv first if needed.

VENV ?= .venv
PY := $(VENV)/bin/python
# The stamp is renewed when a lock file or the packaging changes.
READY := $(VENV)/.winnow-accelerator

.PHONY: demo test test-architectures test-soak test-parity chaos check check-infra check-image check-gpu format bench \
    bench-overhead bench-growth bench-peers bench-reports bench-explore bench-gpu schemas screenshots lock clean

demo: $(READY)  ## score a small corpus with a real model on this machine, and report
	@$(PY) -m jobs.demo

# A part of the suite: TESTS=tests/filters.
TESTS ?=
test: $(READY) .venv-faults/.ready  ## the test suite, with real vLLM, Ray and object stores
	$(PY) -m pytest $(TESTS)

# Faults by themselves: in a process that had a Ray of one node, Ray cancels actors on a cluster.
test-soak: $(READY) .venv-faults/.ready  ## slow: faults that take minutes to cause and to wait for
	$(PY) -m pytest -m soak tests/integration/test_faults.py
	$(PY) -m pytest -m soak --ignore tests/integration/test_faults.py $(TESTS)

test-architectures: $(READY)  ## slow: tiny models of every architecture and quantization that is known to work
	$(PY) -m pytest -m "not soak" -rA tests/engine/test_architectures.py tests/engine/test_quantized.py

test-parity: $(READY) .venv-lm-eval/.ready  ## slow: the trained model against lm-evaluation-harness and itself
	$(PY) -m pytest -m parity -s tests/parity

MINUTES ?= 10
chaos: $(READY) .venv-faults/.ready  ## kill engines, machines, drivers and stores for MINUTES (10); SEED repeats a run
	$(PY) -m tests.chaos --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

# Beside the environment, not in it: only what the lock file of Winnow does not have already.
# faults are object stores to run on loopback.
.venv-lm-eval/.ready .venv-faults/.ready: .venv-%/.ready: infra/requirements/%.lock | $(READY)
	rm -rf $(@D)
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --target $(@D) -r $<
	touch $@

check: $(READY)  ## lint, format and types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

check-infra: $(READY) .venv-infra/.ready  ## infra/ with the tools that will read it; says which are missing
	PATH=$(CURDIR)/.venv-infra/bin:$$PATH $(PY) -m pytest -m "not parity" tests/infra tests/integration/test_prometheus.py
	$(PY) -m tests.infra.check_image --where-possible

check-image: $(READY)  ## build infra/images/cpu.Dockerfile and score in it, with buildah and runc; about 11 GB under TMPDIR
	$(PY) -m tests.infra.check_image

.venv-infra/.ready: infra/check-tools.txt
	$(PY) -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check --only-binary :all: -r $<
	touch $@

# vLLM's CUDA build, 9.4 GB, for any x86-64 Linux. Without pip's own configuration: a local folder of
# wheels would bring a torch for CPUs. The index is the default one, or PIP_INDEX_URL.
GPU_VENV ?= .venv-gpu
check-gpu: $(GPU_VENV)/.ready  ## without a GPU: vLLM's CUDA build imports, and what it makes of our arguments
	CUDA_VISIBLE_DEVICES= LD_LIBRARY_PATH=$(abspath $(GPU_VENV))/stub VLLM_LOGGING_LEVEL=ERROR \
	    VLLM_CACHE_ROOT=$(abspath $(GPU_VENV))/cache PYTHONPATH=$(CURDIR) \
	    $(GPU_VENV)/bin/python -m tests.gpu.check

$(GPU_VENV)/.ready: infra/requirements/gpu.lock infra/gpu/stub.sh
	env -u PIP_FIND_LINKS PIP_CONFIG_FILE=/dev/null WINNOW_ACCELERATOR=gpu VENV=$(GPU_VENV) infra/setup.sh
	infra/gpu/stub.sh $(GPU_VENV)/lib/python3*/site-packages $(GPU_VENV)/stub
	touch $@

format: $(READY)
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

bench: $(READY)  ## winnow score against a bare LLM.generate loop over the same tokens
	$(PY) tests/benchmarks/bench_score.py

bench-reports: $(READY)  ## report and filter against bare Polars; ten million made-up score rows
	$(PY) -m tests.benchmarks.bench_reports
	$(PY) -m tests.benchmarks.bench_rewrite

bench-explore: $(READY)  ## the page of winnow explore: start, frame, exact count; ten million made-up rows
	$(PY) -m tests.benchmarks.bench_explore

schemas: $(READY)  ## regenerate pipeline/schemas/*.json, docs/reference and docs/library.md
	$(PY) -m pipeline.reports.json_schemas
	$(PY) -m tests.support.reference

screenshots: $(READY)  ## docs/*.png, from the run of the demo
	$(PY) -m tests.support.screenshots

bench-overhead: $(READY)  ## what Winnow itself costs: a document, a plan, a shard of the driver
	$(PY) -m tests.benchmarks.bench_overhead
	$(PY) -m tests.benchmarks.bench_driver
	$(PY) -m tests.benchmarks.queue_model

bench-gpu: $(READY)  ## on a GPU: parity, scoring paths, engines per GPU, MFU; at most eight minutes
	$(PY) -m tests.benchmarks.bench_gpu

bench-growth: $(READY)  ## time and memory at 1, 4 and 16 times the corpus
	$(PY) -m tests.benchmarks.bench_growth

# Peers that cannot be installed or run are in the table, with the reason.
DOCUMENTS ?= 60
ROUNDS ?= 5
bench-peers: $(READY) .venv-lm-eval/.ready .venv-peers/.ready  ## slow: other ways to score, beside ours
	$(PY) -m tests.benchmarks.bench_peers $(DOCUMENTS) $(ROUNDS)

.venv-peers/.ready: tests/benchmarks/peers.txt
	rm -rf $(@D)
	mkdir $(@D)
	for peer in $$(grep == $<); do $(PY) -m pip install --quiet --disable-pip-version-check \
	    --no-deps --target $(@D) $$peer || echo "$$peer: not installable" >&2; done
	touch $@

lock:  ## regenerate infra/requirements/*.lock
	infra/lock.sh

$(READY): infra/setup.sh infra/requirements/cpu.lock infra/requirements/gpu.lock pyproject.toml
	@VENV=$(VENV) infra/setup.sh

clean:
	rm -rf $(VENV) .venv-lm-eval .venv-faults .venv-infra .venv-peers .venv-gpu .mypy_cache .pytest_cache .ruff_cache \
	    winnow_ppl.egg-info
