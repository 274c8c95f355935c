#!/usr/bin/env bash
# Creates .venv with the program and its dependencies, or reuses an existing
# one.
#
#   launch/setup.sh [cpu|cuda|tpu] [EXTRA...]
#
# The extras are those of pyproject.toml, such as beam and buckets. cuda and tpu
# include hub, which downloads the ImageNet weights that training starts from.
#
# Needs Python 3.11 or newer and a package index. Does not change the system's
# Python. PYTHON=/path/to/python3 chooses the interpreter, and VENV=FOLDER
# another folder than .venv.
set -euo pipefail
cd "$(dirname "$0")/.."

device=${1:-cpu}
extras=("${@:2}")
venv=${VENV:-.venv}
case $device in
  cpu) ;;
  cuda | tpu) extras+=("$device") ;;
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
  echo 'error: no Python 3.11 or newer with venv was found. Install one, or' \
    'name it: PYTHON=/path/to/python3 launch/setup.sh' >&2
  return 1
}

# The stamp lists the complete installations, so that these are reused and an
# interrupted one is repeated.
wanted="${extras[*]-} $(cat requirements.txt pyproject.toml \
  ${PIP_CONSTRAINT:+"$PIP_CONSTRAINT"} | cksum)"
stamp=$venv/.installed
if ! grep -qxF "$wanted" "$stamp" 2>/dev/null; then
  python=$(find_python)
  echo "Setting up $venv ($device${extras[*]+ ${extras[*]}}); this takes some" \
    'minutes.'
  "$venv/bin/python" -m pip --version >/dev/null 2>&1 \
    || "$python" -m venv --clear "$venv"
  "$venv/bin/python" -m pip install --quiet --upgrade pip
  "$venv/bin/python" -m pip install --quiet \
    --editable ".[$(IFS=,; echo "${extras[*]-}")]"
  if [[ " ${extras[*]-} " == *' onnx '* || " ${extras[*]-} " == *' test'* ]]; then
    # Without its dependencies: it requires an older Orbax, and libraries that
    # this program does not use.
    "$venv/bin/python" -m pip install --quiet --no-deps jax2onnx==0.17.1
  fi
  if [[ " ${extras[*]-} " == *' test'* && $(uname -sm) == 'Linux x86_64' ]]
  then
    # The TPU compiler, which needs no TPU. It gets a separate folder, because
    # JAX warns of the missing TPU at each start if it finds the compiler.
    libtpu=$("$venv/bin/python" -c 'from importlib.metadata import requires
print(next(x.split(";")[0] for x in requires("jax") if "libtpu" in x))')
    "$venv/bin/python" -m pip install --quiet --no-deps --upgrade \
      --target "$venv/libtpu" "$libtpu"
  fi
  echo "$wanted" >>"$stamp"
fi
