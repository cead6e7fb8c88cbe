# Every target makes .venv by itself (scripts/bootstrap.sh) and can be called again at any time.
#   make demo PYTHON=python3.12        another interpreter (3.11 or newer)
#   UV_TORCH_BACKEND=cpu make demo     the small CPU build of torch
#   make test ARGS="tests/servers -x"  a part of the tests, without the coverage limit
SHELL := bash
ARGS ?=
export PYTHON
unexport PYTHONDONTWRITEBYTECODE  # hundreds of short processes: our modules are compiled once
BIN := .venv/bin
CHECKED := src tools tests scripts bench

.PHONY: help demo test lint bench docs clean local dev

help:
	@echo "make demo   one whole night on three tiny models, in a new ./demo-lab"
	@echo "make test   every test, slow and real ones too, with coverage"
	@echo "make lint   ruff, mypy --strict, sizes, floors, skills, generated files"
	@echo "make bench  the speed of a sweep, of the embedded server, of judging, and of the demo night; the mutation test"
	@echo "make docs   write tools/README.md and docs/reference anew"
	@echo "make clean  remove .venv, caches and build outputs"

demo: local
	$(BIN)/nightlab demo $(ARGS)

# One thread for each process. Three workers on two cores: many tests wait for clocks, queues and starting servers.
test: export OMP_NUM_THREADS := 1
test: dev
	$(BIN)/python -m pytest $(or $(ARGS),-m "not vllm" -n 3 --dist worksteal --cov --cov-report=term --cov-fail-under=90 --durations=10)
	$(if $(ARGS),,$(BIN)/python -m pytest -m vllm --durations=10)

lint: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(wildcard $(CHECKED))
	$(BIN)/python scripts/size_check.py
	$(BIN)/python scripts/floors.py
	set -e; for skill in skills/*/; do $(BIN)/agentskills validate "$$skill"; done
	$(BIN)/python scripts/generate.py --check

bench: dev
	$(BIN)/python bench/sweep.py $(ARGS)
	$(BIN)/python bench/embedded.py $(ARGS)
	$(BIN)/python bench/serving.py $(ARGS)
	$(BIN)/python bench/demo.py $(ARGS)
	$(BIN)/python bench/judge.py $(ARGS)
	$(BIN)/python bench/truth.py $(ARGS)

docs: dev
	$(BIN)/python scripts/generate.py

clean:
	rm -rf .venv build dist htmlcov .coverage* .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

local:
	@scripts/bootstrap.sh local

dev:
	@scripts/bootstrap.sh local,dev
