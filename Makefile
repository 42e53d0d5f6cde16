# Each target sets up what it needs by itself; run again, it costs nothing.
# A Python 3.12 that is not found by itself can be named: make setup PYTHON=/path/to/python3.12

.PHONY: help setup demo test check format

help:
	@echo "make setup   a virtual environment in .venv with the package, and the system's packages where allowed"
	@echo "make demo    evaluate the shipped policies in the shipped world and in the simulator; report in demo/"
	@echo "make test    style, types, import directions and the tests"
	@echo "make check   the same without the tests"
	@echo "make format  rewrite the code in the common style"

setup:
	@bash scripts/setup.sh

demo: setup
	@bash scripts/run.sh cosmos-sim evaluate --truth twin --episodes 10 --out demo

test: check
	@OMP_NUM_THREADS=1 bash scripts/run.sh pytest -n 2

check: setup
	@bash scripts/run.sh ruff check
	@bash scripts/run.sh ruff format --check
	@bash scripts/run.sh lint-imports --no-logo
	@bash scripts/run.sh mypy

format: setup
	@bash scripts/run.sh ruff check --fix
	@bash scripts/run.sh ruff format
