#!/usr/bin/env bash
# Trains on GPUs under Slurm, and resumes after the time limit, a preemption or
# a crash. Submit it in the repository's folder, on a file system that all nodes
# share, after `launch/setup.sh cuda` has created .venv there:
#
#   sbatch --nodes=2 launch/slurm.sh python -m scribble_jax.main \
#       --config=configs/scribblesup.py --workdir=runs/scribblesup
#
# sbatch's options override the lines below. MAX_RESTARTS=20 limits how often
# the job is queued again. DRY_RUN=1 launch/slurm.sh COMMAND... prints the
# commands and runs none.
#
#SBATCH --job-name=scribble_jax
#SBATCH --nodes=1
#SBATCH --gpus-per-node=4
#SBATCH --ntasks-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@300
#SBATCH --requeue
#SBATCH --output=%x-%j.log
#SBATCH --open-mode=append
#
# A task is one process, which uses one GPU: JAX selects the GPU with the index
# SLURM_LOCALID, so every task must see all GPUs of its node. --signal makes the
# tasks save and stop the given number of seconds before the time limit. A
# validation or a checkpoint that is in progress ends first.
set -euo pipefail

fail() {
  echo "error: $*" >&2
  exit 1
}

# srun returns the highest exit code of all tasks. 255 in place of 1 is higher
# than 134 or 137, with which the other tasks may end.
if [[ ${1:-} == --task ]]; then
  shift
  code=0
  "$@" || code=$?
  exit $((code == 1 ? 255 : code))
fi

(($#)) || fail 'what to run is missing: sbatch launch/slurm.sh python -m' \
  'scribble_jax.main --config=... --workdir=...'
max_restarts=${MAX_RESTARTS:-20}
[[ $max_restarts =~ ^[0-9]+$ ]] \
  || fail "MAX_RESTARTS must be a number, not '$max_restarts'."
gpus=${SLURM_GPUS_PER_NODE:-}
gpus=${gpus##*:}  # The number in values such as a100:4.
[[ $gpus == "${SLURM_NTASKS_PER_NODE:-}" ]] \
  || fail "a node has ${gpus:-no} GPUs, but ${SLURM_NTASKS_PER_NODE:-no}" \
    'tasks. Give sbatch the same --gpus-per-node and --ntasks-per-node.'

# After the first task's end the others have ten minutes. After a crash JAX ends
# them within two.
command=(srun --kill-on-bad-exit=0 --wait=600 --gpu-bind=none --label
  launch/slurm.sh --task "$@")
if [[ ${DRY_RUN:-} ]]; then
  printf '%q ' "${command[@]}"
  printf '\n%s\n%s\n' '# If it ends with neither 0, 130 nor 255:' \
    "scontrol requeue \"\$SLURM_JOB_ID\""
  exit
fi

[[ -x .venv/bin/python && -x launch/slurm.sh ]] || fail "no .venv in $PWD." \
  'Submit in the repository, after launch/setup.sh cuda.'
PATH=$PWD/.venv/bin:$PATH
code=0
"${command[@]}" || code=$?
case $code in
  0 | 130) exit "$code" ;;
  255) exit 1 ;;  # An error that the user can correct; the log describes it.
esac
state=$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%T)
if [[ $state != RUNNING ]]; then  # Cancelled, or preempted: Slurm handles it.
  exit "$code"
fi
((${SLURM_RESTART_COUNT:-0} < max_restarts)) \
  || fail "exit code $code after $max_restarts restarts (MAX_RESTARTS)."
echo "Exit code $code: queued again, to resume from the last checkpoint."
scontrol requeue "$SLURM_JOB_ID"
