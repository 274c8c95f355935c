"""Stands in for gcloud: a TPU of two workers, each a folder of this machine.

FAKE_CLOUD is a folder of files: `state` of the TPU; `calls`, a JSON list a
line; `trouble`, the words of calls that fail, each once; `sessions`, the
process groups of connections.
"""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

CLOUD = pathlib.Path(os.environ['FAKE_CLOUD'])
WORKERS = [CLOUD / 'worker_0', CLOUD / 'worker_1']


def main(argv):
  """Does what the gcloud command would do to the TPU; returns its exit code."""
  with open(CLOUD / 'calls', 'a') as calls:
    calls.write(json.dumps(argv) + '\n')
  kind, verb = argv[2:4]  # Behind compute and tpus.
  flags = dict(word.split('=', 1) for word in argv if word[:2] == '--'
               and '=' in word)
  queued = kind == 'queued-resources'
  if fails(verb):
    return 1
  if verb == 'list':
    state = read_state()
    print({'READY': 'ACTIVE', 'PREEMPTED': 'SUSPENDED'}.get(state, state)
          if queued else state)
  elif verb == 'create':
    for worker in WORKERS:
      worker.mkdir()
    (CLOUD / 'state').write_text('READY')
  elif verb == 'delete':
    end_sessions()  # As the power switch would.
    for worker in WORKERS:
      shutil.rmtree(worker)
    (CLOUD / 'state').write_text('')
  elif verb == 'scp':
    source, (_, destination) = argv[4], argv[5].split(':')
    for worker in WORKERS:
      shutil.copy(source, worker / destination)
  elif verb == 'ssh':
    workers = (WORKERS if flags['--worker'] == 'all'
               else [WORKERS[int(flags['--worker'])]])
    return run_on(workers, flags['--command'])
  return 0


def fails(verb):
  """Whether `trouble` has the verb left; takes it away."""
  path = CLOUD / 'trouble'
  left = path.read_text().split()
  if verb not in left:
    return False
  left.remove(verb)
  path.write_text('\n'.join(left))
  return True


def read_state():
  return (CLOUD / 'state').read_text()


def run_on(workers, command):
  """Runs a shell command on some workers, until the TPU is gone.

  Returns:
    The first exit code that is not 0, as gcloud does; 1 for a lost TPU.
  """
  if read_state() != 'READY':
    return 1
  processes = [
      subprocess.Popen(['bash', '-c', command], cwd=worker,
                       env=os.environ | {'HOME': str(worker)},
                       start_new_session=True)
      for worker in workers]
  lost = False
  try:
    with open(CLOUD / 'sessions', 'a') as sessions:
      sessions.writelines(f'{process.pid}\n' for process in processes)
    while not lost and any(process.poll() is None for process in processes):
      lost = read_state() != 'READY' or (
          command.endswith('follow') and fails('follow'))
      time.sleep(0.05)
  finally:  # More than sshd does to what goes on.
    for process in processes:
      with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGHUP)
  if lost:
    return 1
  return next((process.returncode for process in processes
               if process.returncode), 0)


def end_sessions():
  for group in (CLOUD / 'sessions').read_text().split():
    with contextlib.suppress(ProcessLookupError):
      os.killpg(int(group), signal.SIGKILL)


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
