#!/usr/bin/env bash
# Installs the program, then runs the linter and the tests on the CPU.
#
#   launch/test.sh [PYTEST ARGUMENTS]     such as tests/test_losses.py
#
# LOWEST=1 tests with the lowest version of each dependency's range, in
# .venv_lowest, on Python 3.11: some of them have no wheels for newer Pythons.
# NEWEST=1 tests with the newest versions, in .venv_newest, on Python 3.13,
# without PyTorch and Beam: tests that need them are skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
export VENV=.venv
extra='test'
if [[ ${LOWEST:-} ]]; then
  VENV=.venv_lowest
  export PYTHON=${PYTHON:-python3.11} PIP_CONSTRAINT=$PWD/runs/lowest.txt
  mkdir -p runs
  # NAME[EXTRA]>=1.2,<2 becomes NAME==1.2.
  sed -nE 's/^[ "]*([A-Za-z0-9_-]+)(\[.*\])?>=([0-9.]+),.*/\1==\3/p' \
    requirements.txt pyproject.toml >"$PIP_CONSTRAINT"
elif [[ ${NEWEST:-} ]]; then
  VENV=.venv_newest extra='test-newest'
  export PYTHON=${PYTHON:-python3.13}
fi
launch/setup.sh cpu "$extra"
"$VENV/bin/ruff" check
# All tests of a file run in one worker, because they share trained networks and
# compiled programs.
exec "$VENV/bin/python" -m pytest -n 2 --dist loadfile --no-loadscope-reorder \
  --durations=30 --durations-min=5 "$@"
