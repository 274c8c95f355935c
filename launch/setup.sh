#!/usr/bin/env bash
# Makes .venv with everything the program needs, or reuses the one there.
#
#   launch/setup.sh [cpu|cuda|tpu] [REQUIREMENTS]
#
# Needs Python 3.11 or newer and a package index; leaves the system's Python
# alone. PYTHON=/path/to/python3 chooses another interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."

device=${1:-cpu}
requirements=${2:-requirements.txt}
case $device in
  cpu) plugin=() ;;
  cuda) plugin=('jax[cuda13]') ;;
  tpu) plugin=('jax[tpu]') ;;
  *) echo "error: unknown device '$device'. Choose cpu, cuda or tpu." >&2
     exit 1 ;;
esac

find_python() {
  local candidate
  for candidate in ${PYTHON:-python3.13 python3.12 python3.11 python3 python}; do
    if "$candidate" -c \
        'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
        2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo 'error: no Python 3.11 or newer with venv found. Install one, or name' \
    'it: PYTHON=/path/to/python3 launch/setup.sh' >&2
  return 1
}

# What is installed is noted once it is complete: an interrupted set-up is done
# again, a complete one is reused.
wanted="$device $requirements $(cat requirements.txt "$requirements" | cksum)"
stamp=.venv/.installed
if ! grep -qxF "$wanted" "$stamp" 2>/dev/null; then
  python=$(find_python)
  echo "Setting up .venv ($device, $requirements); this takes some minutes."
  .venv/bin/python -m pip --version >/dev/null 2>&1 \
    || "$python" -m venv --clear .venv
  .venv/bin/python -m pip install --quiet --upgrade pip
  .venv/bin/python -m pip install --quiet -r "$requirements" ${plugin[@]+"${plugin[@]}"}
  echo "$wanted" >>"$stamp"
fi
