# `make demo` and `make test` do everything, the virtual environment in .venv included.
# Variables: PYTHON=python3.12, DEMO_ARGS="--seconds 30", PYTEST_ARGS="tests/ops -k hash".

PYTEST_ARGS ?=
DEMO_ARGS ?=
run := runs/demo-$(shell date +%Y%m%d-%H%M%S)

.PHONY: help demo test
.DELETE_ON_ERROR:

help:
	@echo 'make demo   train the built-in scene; pictures and a video go to a new folder in runs/'
	@echo 'make test   ruff and the tests, but for those marked slow'
	@echo
	@echo 'Both install what they need into .venv first. PYTHON=python3.12 chooses the interpreter;'
	@echo 'DEMO_ARGS="--seconds 30" and PYTEST_ARGS="tests/ops -k hash" are handed on.'

demo: .venv/installed-demo
	.venv/bin/taichi-nerf train --output $(run) $(DEMO_ARGS)
	@echo
	@echo 'Look at $(run)/orbit.mp4 (a turn around the scene)'
	@echo '    and $(run)/test/*.png (test views beside the truth).'

test: .venv/installed-test
	.venv/bin/python -m ruff check .
	.venv/bin/python -m pytest -n auto --dist worksteal $(PYTEST_ARGS)

.venv/installed-demo: pyproject.toml constraints.txt scripts/install.sh
	@PYTHON='$(PYTHON)' sh scripts/install.sh .
	@touch $@

.venv/installed-test: pyproject.toml constraints.txt scripts/install.sh
	@PYTHON='$(PYTHON)' sh scripts/install.sh '.[test]'
	@touch $@
