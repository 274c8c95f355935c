#!/usr/bin/env bash
# Trains on a Cloud TPU VM with one or several hosts. launch/README.md describes
# costs, logs, and what happens at a preemption.
#
#   launch/tpu_vm.sh create --name=NAME --zone=ZONE --type=TYPE [OPTIONS]
#   launch/tpu_vm.sh setup  --name=NAME --zone=ZONE   sources and .venv
#   launch/tpu_vm.sh run    --name=NAME --zone=ZONE -- COMMAND...
#   launch/tpu_vm.sh status | logs | stop | delete --name=NAME --zone=ZONE
#   launch/tpu_vm.sh watch  --name=NAME --zone=ZONE --type=TYPE -- COMMAND...
#
# COMMAND runs on every worker, such as `python -m scribble_jax.main --config=C
# --workdir=gs://B/F`. watch does all steps: it creates the TPU, sets it up and
# runs the command, and repeats them after a preemption or a crash, until the
# command ends with 0, 1 or 130.
#
#   --type=TYPE         accelerator type, such as v5litepod-16
#   --version=VERSION   runtime version; the default depends on the type
#   --spot              a cheaper TPU, which may be preempted at any time
#   --queued            wait in Google's queue for a free TPU; for all commands
#   --project=PROJECT   the project, if it is not gcloud's default
#   --create_flags='--network=N --service-account=S'   for gcloud's create
#   --max_restarts=20   limit of the restarts by watch
#   --delete            watch deletes the TPU at the end, except after Ctrl-C
#   --dry_run           print the commands and run none
set -euo pipefail
cd "$(dirname "$0")/.."

worker=scribble_jax/launch/worker.sh

fail() {
  echo "error: $*" >&2
  exit 1
}

say() {
  echo "tpu_vm: $*" >&2
}

# Prints a command, quoted so that it can be pasted into a shell.
print_command() {
  local word line=''
  for word in "$@"; do
    if [[ ! $word =~ ^[A-Za-z0-9_./:=@%+,~-]+$ ]]; then
      # shellcheck disable=SC2001  # ${word//} differs between versions of Bash.
      word="'$(sed "s/'/'\\\\''/g" <<<"$word")'"
    fi
    line+=" $word"
  done
  echo "${line# }"
}

# Runs a command, or prints it with --dry_run.
act() {
  if [[ $dry_run ]]; then
    print_command "$@" >&3  # To the terminal, even if a caller captures stdout.
  else
    "$@"
  fi
}

tpus() {
  act gcloud compute tpus "$@" --zone="$zone" ${project:+"--project=$project"}
}

# Runs a shell command on a worker, by number, or on all of them.
on_worker() {
  # Without the flag, the connection hangs if the machine disappears.
  tpus tpu-vm ssh "$name" --worker="$1" --command="$2" \
    --ssh-flag=-oServerAliveInterval=30
}

# Prints the state of the TPU, or of the queued request for it: nothing if there
# is none, UNKNOWN if gcloud fails. ssh's exit code does not show these cases.
state() {
  local kind=tpu-vm key=state
  if [[ $queued ]]; then
    kind=queued-resources key=state.state
  fi
  tpus "$kind" list --filter="name~/$name$" --format="value($key)" \
    || echo UNKNOWN
}

request() {
  if [[ $queued ]]; then
    set -- queued-resources create "$name" --node-id="$name" \
      --runtime-version="$version"
  else
    set -- tpu-vm create "$name" --version="$version"
  fi
  # shellcheck disable=SC2086  # Several flags.
  tpus "$@" --accelerator-type="$type" ${spot:+--spot} $create_flags
}

delete() {
  if [[ $queued ]]; then
    tpus queued-resources delete "$name" --force --quiet
  else
    tpus tpu-vm delete "$name" --quiet
  fi
}

# Creates the TPU unless it is there, and waits until it can be used.
create() {
  local current last=
  while true; do
    current=$(state)
    if [[ $current != "$last" ]]; then
      say "$name: ${current:-does not exist}"
      last=$current
    fi
    case $current in
      READY | ACTIVE)
        created=1
        return ;;
      '')
        if request; then
          [[ $dry_run ]] && return
          continue
        fi
        # After a preemption a failure may mean that no TPU is free at the
        # moment.
        [[ $created ]] || fail "$name can't be created; gcloud says why." ;;
      PREEMPTED | TERMINATED | SUSPENDED) delete || true ;;
      STOPPED | FAILED) fail "$name is $current. Delete it: launch/tpu_vm.sh" \
        "delete ${options[*]}" ;;
    esac
    sleep 30
  done
}

pack() {
  mkdir -p runs
  act tar -czf "$archive" --exclude=__pycache__ \
    configs launch pyproject.toml requirements.txt scribble_jax
}

# Copies the sources to all workers and creates .venv there.
set_up() {
  tpus tpu-vm scp "$archive" "$name:scribble_jax.tar.gz" --worker=all \
    && on_worker all "mkdir -p scribble_jax && cd scribble_jax &&\
 rm -rf configs scribble_jax && tar -xzf ../scribble_jax.tar.gz &&\
 launch/worker.sh setup"
}

start() {
  on_worker all "$worker start $(print_command "${program[@]}")"
}

# Prints the first worker's log until the command ends. Returns the exit code
# that stands for all workers; 255 if they are gone.
follow() {
  local codes code outcome=0
  trap 'say "The command goes on: see logs and stop."; exit 130' INT
  until on_worker 0 "$worker follow"; do
    case $(state) in
      READY | ACTIVE | UNKNOWN) say 'Connecting again.' ;;
      *)
        say "$name is gone."
        return 255 ;;
    esac
    sleep 10
  done
  codes=$(on_worker all "$worker result" | sed -n 's/.*exit_code=//p' \
    | tr '\n' ' ') || return 255
  trap - INT
  case " $codes" in  # The other workers may end with other codes.
    *' 1 '*) return 1 ;;
    *' 130 '*) return 130 ;;
  esac
  for code in $codes; do
    ((code == 0)) || outcome=$code
  done
  return "$outcome"
}

run() {
  start && follow
}

# Whether the command of an earlier watch or run is still running.
is_running() {
  [[ $(on_worker 0 "$worker status" 2>/dev/null) == *': running: '* ]]
}

# Prepares and runs the command once; returns its exit code.
attempt() {
  create
  if ! is_running; then
    set_up && start || return 255
  fi
  follow
}

watch() {
  local code=0 restarts=0
  pack
  while true; do
    code=0
    attempt || code=$?
    case $code in
      0 | 1 | 130) break ;;
    esac
    if ((restarts == max_restarts)); then
      say "Exit code $code. No more restarts (--max_restarts=$max_restarts)."
      break
    fi
    restarts=$((restarts + 1))
    say "Exit code $code. Restart $restarts of $max_restarts."
    sleep 10
  done
  if [[ $dry_run ]]; then
    echo '# After a crash or a preemption: all but the first line again. A' \
      'preempted TPU is deleted before:'
    delete 3>&1 | sed 's/^/# /'
  fi
  if [[ $delete_at_end ]]; then
    delete
  elif [[ ! $dry_run ]]; then
    say "$name costs money until: launch/tpu_vm.sh delete ${options[*]}"
  fi
  return "$code"
}

# Ends with a one-line message if the options are wrong.
check_options() {
  [[ $name =~ ^[a-z]([a-z0-9-]*[a-z0-9])?$ ]] \
    || fail "--name must be of lower case letters, digits and '-', not '$name'."
  [[ $zone ]] || fail '--zone is missing, such as --zone=us-west4-a.'
  [[ $max_restarts =~ ^[0-9]+$ ]] \
    || fail "--max_restarts must be a number, not '$max_restarts'."
  case $command in
    create | watch) check_type ;;
  esac
  case $command in
    run | watch) [[ ${#program[@]} -gt 0 ]] || fail "what to run is missing:" \
      "-- python -m scribble_jax.main --config=... --workdir=gs://..." ;;
    *) [[ ${#program[@]} -eq 0 ]] || fail "$command takes no command." ;;
  esac
  [[ $command != watch ]] || check_workdir
  [[ $dry_run ]] || command -v gcloud >/dev/null || fail 'gcloud is missing.' \
    'Install the Google Cloud CLI: https://cloud.google.com/sdk/docs/install'
}

check_type() {
  [[ $type ]] || fail '--type is missing, such as --type=v5litepod-16.'
  [[ $version ]] || case $type in
    v2-* | v3-* | v4-*) version=tpu-ubuntu2204-base ;;
    v5litepod-*) version=v2-alpha-tpuv5-lite ;;
    v5p-*) version=v2-alpha-tpuv5 ;;
    v6e-*) version=v2-alpha-tpuv6e ;;
    *) fail "no runtime version is known for '$type'. Name it: --version=..." ;;
  esac
}

check_workdir() {
  local word
  for word in "${program[@]}"; do
    case $word in
      --workdir=gs://* | --workdir=/*) ;;
      --workdir=*) fail "$word is on the TPU's own disk, which a preemption" \
        'takes. Use --workdir=gs://BUCKET/FOLDER.' ;;
    esac
  done
}

command=${1:-}
case $command in
  create | setup | run | status | logs | stop | delete | watch) shift ;;
  *) fail "unknown command '$command'. Choose create, setup, run, status," \
    'logs, stop, delete or watch.' ;;
esac
name='' zone='' type='' version='' project='' create_flags='' max_restarts=20
spot='' queued='' delete_at_end='' dry_run='' created=''
program=()
while (($#)); do
  case $1 in
    --name=*) name=${1#*=} ;;
    --zone=*) zone=${1#*=} ;;
    --type=*) type=${1#*=} ;;
    --version=*) version=${1#*=} ;;
    --project=*) project=${1#*=} ;;
    --create_flags=*) create_flags=${1#*=} ;;
    --max_restarts=*) max_restarts=${1#*=} ;;
    --spot) spot=1 ;;
    --queued) queued=1 ;;
    --delete) delete_at_end=1 ;;
    --dry_run) dry_run=1 ;;
    --)
      shift
      program=("$@")
      break ;;
    *) fail "unknown option '$1'. See the head of launch/tpu_vm.sh." ;;
  esac
  shift
done
check_options
options=(--name="$name" --zone="$zone" ${project:+"--project=$project"}
  ${queued:+--queued})
archive=runs/$name.tar.gz
exec 3>&1

case $command in
  setup)
    pack
    set_up ;;
  status)
    state
    on_worker all "$worker status" ;;
  logs) on_worker 0 "$worker follow" ;;
  stop) on_worker all "$worker stop" ;;
  *) "$command" ;;  # The other commands are functions of the same name.
esac
