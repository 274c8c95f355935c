#!/usr/bin/env bash
# Both stages of the method on drawn scenes: sets everything up, trains for some
# minutes on a CPU, prints the mIoU table, leaves pictures in runs/demo.
#
#   launch/demo.sh [FLAGS]     such as --config.num_steps=200
#
# Run again, it goes on where it was, or shows the finished result.
set -euo pipefail
cd "$(dirname "$0")/.."
launch/setup.sh "${DEVICE:-cpu}" lite
exec .venv/bin/python -m scribble_jax.main \
  --config=configs/demo.py:small --workdir=runs/demo "$@"
