#!/usr/bin/env bash
# Runs both stages of the method on drawn scenes: installs the program, trains
# for a few minutes on a CPU, prints a table of the IoUs, writes pictures to
# runs/demo.
#
#   launch/demo.sh [FLAGS]     such as --config.num_steps=200
#
# A second call resumes the run, or shows its result if it is finished.
set -euo pipefail
cd "$(dirname "$0")/.."
launch/setup.sh "${DEVICE:-cpu}" lite
exec .venv/bin/python -m scribble_jax.main \
  --config=configs/demo.py:small --workdir=runs/demo "$@"
