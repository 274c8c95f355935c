#!/usr/bin/env bash
# Sets everything up, then runs the linter and the tests on the CPU.
#
#   launch/test.sh [PYTEST ARGUMENTS]     such as tests/test_losses.py
set -euo pipefail
cd "$(dirname "$0")/.."
launch/setup.sh cpu tests/requirements.txt
.venv/bin/ruff check
# A file stays with one worker: its tests share what they train and compile.
exec .venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder \
  --durations=30 --durations-min=5 "$@"
