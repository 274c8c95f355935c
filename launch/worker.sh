#!/usr/bin/env bash
# launch/tpu_vm.sh runs this script on each worker of a TPU.
#
#   launch/worker.sh setup              installs Python 3.12, creates .venv
#   launch/worker.sh start COMMAND...   runs it in the background, if none runs
#   launch/worker.sh status             prints the state in one line
#   launch/worker.sh follow             prints the log until the command ends
#   launch/worker.sh result             waits for the end, prints exit_code=N
#   launch/worker.sh stop               SIGTERM: saves a checkpoint and ends
#
# The command keeps running when the connection that started it ends: it ignores
# the hangup and writes to runs/worker.log. This needs neither root, as
# systemd-run does, nor a terminal, as tmux does. A lock shows whether the
# command is running: unlike a process id, it disappears with a crash or a
# reboot.
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
  # The TPU's images have Python 3.10. uv needs neither root nor apt.
  PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install --quiet --user uv
  python3 -m uv --quiet python install 3.12
  PYTHON=$(python3 -m uv python find --managed-python 3.12) \
    launch/setup.sh tpu buckets  # The workdir is in a bucket.
}

running() {
  ! wait_for_end --nonblock
}

# Waits until no command is running; flock's options set the time limit.
wait_for_end() {
  flock --shared "$@" 9 && flock --unlock 9
}

signal_command() {
  kill "-$1" "$(cat runs/worker.pid)" || true  # It may have ended in between.
}

start() {
  [[ -x .venv/bin/python ]] \
    || fail 'nothing is set up here. Run launch/tpu_vm.sh setup first.'
  # gcloud repeats a command whose connection broke, so it may already be
  # running. A `follow` that ends may hold the lock for a moment.
  if ! flock --timeout 5 9; then
    echo 'Already running.'
    return
  fi
  rm -f runs/worker.exit_code
  trap '' HUP
  run "$@" >>"$log" 2>&1 </dev/null &
}

# Holds the lock while the command runs, then writes its exit code to a file.
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
  # Without a file the command was never started, or the machine went down.
  cat runs/worker.exit_code 2>/dev/null || echo 255
}

follow() {
  tail -n 20 -f "$log" 9>&- &
  # shellcheck disable=SC2064  # $! is expanded now, as intended.
  trap "kill $!" EXIT
  wait_for_end
  sleep 1  # For the last lines.
}

result() {
  # The first worker has ended, so a worker that is still running after five
  # minutes hangs.
  if ! wait_for_end --timeout 300; then
    signal_command KILL
    wait_for_end --timeout 60 || fail "$HOSTNAME: does not end"
  fi
  echo "exit_code=$(exit_code)"
}

stop() {
  if running; then
    signal_command TERM
    wait_for_end --timeout 900 || fail "$HOSTNAME: still running after 900 s"
  fi
  status
}

case ${1:-} in
  setup | start | status | follow | result | stop) "$@" ;;
  *) fail "unknown command '${1:-}'. See the head of launch/worker.sh." ;;
esac
