#!/usr/bin/env bash
# What launch/tpu_vm.sh runs on each worker of a TPU.
#
#   launch/worker.sh setup              makes .venv, with a Python of its own
#   launch/worker.sh start COMMAND...   in the background, unless one runs
#   launch/worker.sh status             one line
#   launch/worker.sh follow             prints the log until the command ends
#   launch/worker.sh result             waits for the end, prints exit_code=N
#   launch/worker.sh stop               SIGTERM: saves a checkpoint and ends
#
# The command outlives the connection that started it: it ignores the hangup and
# writes to runs/worker.log. That takes neither root, as systemd-run does, nor a
# terminal of its own, as tmux does. A lock says whether it runs: unlike a
# process id it goes away with a crash or a reboot.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p runs
log=runs/worker.log
touch "$log"
exec 9>>runs/worker.lock

fail() {
  echo "error: $*" >&2
  exit 1
}

setup() {
  # The TPU's images bring Python 3.10. This needs no root, and no wait for apt.
  PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install --quiet --user uv
  python3 -m uv --quiet python install 3.12
  PYTHON=$(python3 -m uv python find --managed-python 3.12) \
    launch/setup.sh tpu buckets  # It works in a bucket.
}

running() {
  ! wait_for_end --nonblock
}

# Waits until nothing runs; options of flock say for how long.
wait_for_end() {
  flock --shared "$@" 9 && flock --unlock 9
}

signal_command() {
  kill "-$1" "$(cat runs/worker.pid)" || true  # It may just have ended.
}

start() {
  [[ -x .venv/bin/python ]] \
    || fail 'nothing is set up here. Run launch/tpu_vm.sh setup first.'
  # gcloud repeats a command whose connection broke: then one runs already.
  # A `follow` that ends may hold the lock for a moment.
  if ! flock --timeout 5 9; then
    echo 'Already running.'
    return
  fi
  rm -f runs/worker.exit_code
  trap '' HUP
  run "$@" >>"$log" 2>&1 </dev/null &
}

# Holds the lock while the command runs, then leaves its exit code.
run() {
  local code=0
  echo "$(date): $*"
  PATH=$PWD/.venv/bin:$PATH "$@" 9>&- &
  echo $! >runs/worker.pid
  wait $! || code=$?
  echo "$(date): exit code $code"
  echo "$code" >runs/worker.exit_code
}

status() {
  if running; then
    echo "$HOSTNAME: running: $(tail -n 1 "$log")"
  else
    echo "$HOSTNAME: exit_code=$(exit_code)"
  fi
}

exit_code() {
  # Without one it was never started, or died with the machine.
  cat runs/worker.exit_code 2>/dev/null || echo 255
}

follow() {
  tail -n 20 -f "$log" 9>&- &
  # shellcheck disable=SC2064  # This one, now.
  trap "kill $!" EXIT
  wait_for_end
  sleep 1  # For the last lines.
}

result() {
  # The first worker has ended: one that hangs has lost its peers.
  if ! wait_for_end --timeout 300; then
    signal_command KILL
    wait_for_end --timeout 60 || fail "$HOSTNAME: does not end"
  fi
  echo "exit_code=$(exit_code)"
}

stop() {
  if running; then
    signal_command TERM
    wait_for_end --timeout 900 || fail "$HOSTNAME: it runs on after 900 s"
  fi
  status
}

case ${1:-} in
  setup | start | status | follow | result | stop) "$@" ;;
  *) fail "unknown command '${1:-}'. See the head of launch/worker.sh." ;;
esac
