"""The launchers: dry runs, bad arguments, and what they do to a fake cloud."""

import contextlib
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest
import yaml

REPOSITORY = pathlib.Path(__file__).parent.parent
EXPECTED = REPOSITORY / 'tests/launch_expected'
SCRIPTS = sorted((REPOSITORY / 'launch').glob('*.sh'))
TPU = ('--name=scribble', '--zone=us-west4-a')
PROGRAM = ('python', '-m', 'scribble_jax.main', '--config=configs/own_data.py',
           '--workdir=gs://bucket/run')


def run(*command, cwd=REPOSITORY, **environment):
  """Runs a command; environment variables of None are taken away."""
  environment = {name: value for name, value in (
      dict(os.environ) | environment).items() if value is not None}
  return subprocess.run(
      command, cwd=cwd, env=environment, capture_output=True, text=True,
      timeout=120, check=False)


def write_script(path, text):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(f'#!/bin/sh\n{text}\n')
  path.chmod(0o755)


@pytest.fixture
def bare_path(tmp_path):
  """A PATH of the few tools that a dry run takes: no gcloud, no srun."""
  folder = tmp_path / 'bare'
  folder.mkdir()
  for tool in ('bash', 'dirname', 'mkdir', 'sed', 'tr'):
    (folder / tool).symlink_to(shutil.which(tool))
  return str(folder)


def test_shellcheck():
  shellcheck = pathlib.Path(sys.executable).parent / 'shellcheck'
  assert len(SCRIPTS) > 5
  done = run(str(shellcheck), *map(str, SCRIPTS))
  assert done.returncode == 0, done.stdout


# Dry runs


@pytest.mark.parametrize('name, command', [
    ('create', ['create', '--type=v6e-8', '--project=my-project',
                '--create_flags=--network=net --labels=a=b']),
    ('create_queued', ['create', '--type=v5p-8', '--spot', '--queued']),
    ('setup', ['setup']),
    ('run', ['run', '--', *PROGRAM]),
    ('status', ['status']),
    ('logs', ['logs']),
    ('stop', ['stop']),
    ('delete', ['delete']),
    ('delete_queued', ['delete', '--queued']),
    ('watch', ['watch', '--type=v5litepod-16', '--spot', '--', *PROGRAM]),
    ('watch_queued', ['watch', '--type=v4-8', '--version=mine', '--queued',
                      '--delete', '--', *PROGRAM]),
])
def test_dry_run_of_tpu_vm(name, command, bare_path):
  verb, *rest = command
  done = run('launch/tpu_vm.sh', verb, '--dry_run', *TPU, *rest, PATH=bare_path)
  assert (done.returncode, done.stderr) == (0, '')
  assert done.stdout == (EXPECTED / f'tpu_vm_{name}.txt').read_text()


def test_dry_run_quotes_what_two_shells_read(bare_path):
  program = ['python', "--a=it's", '--b=x y', '--c=$HOME', '--d=*', '--e="']
  done = run('launch/tpu_vm.sh', 'run', '--dry_run', *TPU, '--', *program,
             PATH=bare_path)
  start = shlex.split(done.stdout.splitlines()[0])  # The local shell.
  remote = next(word for word in start if word.startswith('--command='))
  assert shlex.split(remote)[2:] == program  # The worker's.


def test_dry_run_of_slurm(bare_path):
  done = run('launch/slurm.sh', *PROGRAM, PATH=bare_path, DRY_RUN='1',
             SLURM_GPUS_PER_NODE='a100:4', SLURM_NTASKS_PER_NODE='4')
  assert (done.returncode, done.stderr) == (0, '')
  assert done.stdout == (EXPECTED / 'slurm.txt').read_text()


# Bad arguments


@pytest.mark.parametrize('command, message', [
    ([], "unknown command ''"),
    (['fly'], "unknown command 'fly'. Choose create"),
    (['create', '--zone=z', '--type=v4-8'], '--name must be'),
    (['create', '--name=My TPU', '--zone=z'], "not 'My TPU'"),
    (['setup', '--name=a'], '--zone is missing'),
    (['create', *TPU], '--type is missing'),
    (['create', *TPU, '--type=gpu-8'], "version is known for 'gpu-8'"),
    (['stop', *TPU, '--force'], "unknown option '--force'"),
    (['stop', *TPU, '--', 'python'], 'stop takes no command'),
    (['run', *TPU], 'what to run is missing'),
    (['watch', *TPU, '--type=v4-8', '--max_restarts=all', '--', *PROGRAM],
     "not 'all'"),
    (['watch', *TPU, '--type=v4-8', '--', 'python', '--workdir=runs/x'],
     "--workdir=runs/x is on the TPU's own disk"),
    (['delete', *TPU], 'gcloud is missing. Install'),
])
def test_bad_arguments_of_tpu_vm(command, message, bare_path):
  done = run('launch/tpu_vm.sh', *command, PATH=bare_path)
  assert (done.returncode, done.stdout) == (1, '')
  assert re.fullmatch('error: .*\n', done.stderr) and message in done.stderr


@pytest.mark.parametrize('arguments, environment, message', [
    ([], {}, 'what to run is missing'),
    (['python'], {'MAX_RESTARTS': 'all'}, "not 'all'"),
    (['python'], {'SLURM_GPUS_PER_NODE': 'h100:8',
                  'SLURM_NTASKS_PER_NODE': '1'}, '8 GPUs, but 1 tasks'),
    (['python'], {}, 'no .venv in'),
])
def test_bad_arguments_of_slurm(arguments, environment, message, tmp_path):
  done = run(str(REPOSITORY / 'launch/slurm.sh'), *arguments, cwd=tmp_path,
             **environment)
  assert (done.returncode, done.stdout) == (1, '')
  assert re.fullmatch('error: .*\n', done.stderr) and message in done.stderr


# A TPU


class Cloud:
  """A copy of the launchers beside a fake gcloud, with a TPU of two workers.

  Attributes:
    folder: Of the fake's files.
    repository: The copy.
  """
  # Notes its start, then does what the line of its script says.
  PROGRAM = '''
worker=$(basename "$HOME")
echo "$worker $*" >>"$FAKE_CLOUD/starts"
start=$(grep -c "^$worker " "$FAKE_CLOUD/starts")
step=$(sed -n "${start}p" "$FAKE_CLOUD/$worker.script")
case $step in
  preempted)  # Once both workers have started.
    while [ $(($(wc -l <"$FAKE_CLOUD/starts") % 2)) = 1 ]; do
      /bin/sleep 0.1
    done
    printf PREEMPTED >"$FAKE_CLOUD/state"; exec /bin/sleep 60 ;;
  hangs) exec /bin/sleep 60 ;;
  saves) trap 'echo saved; exit 75' TERM; while :; do /bin/sleep 0.1; done ;;
  ends) while [ -s "$FAKE_CLOUD/trouble" ]; do /bin/sleep 0.1; done ;;
  *) exit "$step" ;;
esac'''
  SETUP = f'''
[ "$PYTHON $1" = '/managed/python tpu' ] || exit 1
mkdir -p .venv/bin
cat >.venv/bin/python <<'END'
#!/bin/sh{PROGRAM}
END
chmod +x .venv/bin/python'''

  def __init__(self, folder):
    self.folder = folder / 'cloud'
    self.folder.mkdir()
    self.repository = folder / 'repository'
    shutil.copytree(REPOSITORY / 'launch', self.repository / 'launch')
    write_script(self.repository / 'launch/setup.sh', self.SETUP)
    for name in ('configs', 'scribble_jax'):
      (self.repository / name).mkdir()
    for name in ('pyproject.toml', 'requirements.txt'):
      (self.repository / name).write_text('')
    self._begun = []
    self._bin = folder / 'bin'
    write_script(self._bin / 'gcloud', f'exec {sys.executable} -I '
                 f'{REPOSITORY}/tests/fake_gcloud.py "$@"')
    write_script(self._bin / 'sleep', 'exec /bin/sleep 0.1')
    write_script(  # Has uv.
        self._bin / 'python3',
        'case "$*" in *find*) echo /managed/python ;; esac')
    for name in ('calls', 'sessions', 'starts', 'state', 'trouble'):
      (self.folder / name).write_text('')

  def begin(self, verb, *arguments, scripts=(), trouble=''):
    """Starts the launcher; each start of worker i does scripts[i]'s next step.

    Returns:
      A Popen in a session of its own.
    """
    for worker, steps in enumerate(scripts):
      (self.folder / f'worker_{worker}.script').write_text('\n'.join(steps))
    (self.folder / 'trouble').write_text(trouble)
    process = subprocess.Popen(
        ['launch/tpu_vm.sh', verb, *TPU, *arguments], cwd=self.repository,
        env=os.environ | {'PATH': f'{self._bin}:{os.environ["PATH"]}',
                          'FAKE_CLOUD': str(self.folder)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True)
    self._begun.append(process)
    return process

  def run(self, verb, *arguments, **kwargs):
    """Runs the launcher."""
    process = self.begin(verb, *arguments, **kwargs)
    output, errors = process.communicate(timeout=120)
    return subprocess.CompletedProcess(
        process.args, process.returncode, output, errors)

  def watch(self, *scripts, options=(), trouble=''):
    return self.run('watch', '--type=v5litepod-16', *options, '--', *PROGRAM,
                    scripts=scripts, trouble=trouble)

  def calls(self, verb):
    """The calls of gcloud with a verb, such as 'create'."""
    calls = map(json.loads, (self.folder / 'calls').read_text().splitlines())
    return [call for call in calls if call[3] == verb]

  def starts(self):
    """How often each worker started the program."""
    lines = (self.folder / 'starts').read_text().splitlines()
    arguments = ' '.join(PROGRAM[1:])
    assert set(lines) <= {f'worker_0 {arguments}', f'worker_1 {arguments}'}
    return tuple(sum(line.startswith(f'worker_{worker}') for line in lines)
                 for worker in (0, 1))

  def shut_down(self):
    for process in self._begun:
      if process.poll() is None:  # Of a test that failed.
        os.killpg(process.pid, signal.SIGKILL)
    if (self.folder / 'state').read_text():
      self.run('delete')


@pytest.fixture
def cloud(tmp_path):
  if shutil.which('flock') is None:
    pytest.skip('Workers are Linux machines, with flock.')
  made = Cloud(tmp_path)
  yield made
  made.shut_down()


def test_watch_runs_to_the_end(cloud):
  done = cloud.watch(['0'], ['0'])
  assert done.returncode == 0, done.stderr
  assert cloud.starts() == (1, 1)
  assert len(cloud.calls('create')) == 1 and not cloud.calls('delete')
  assert 'exit code 0' in done.stdout  # The log was followed.
  assert ('costs money until: launch/tpu_vm.sh delete --name=scribble '
          '--zone=us-west4-a') in done.stderr
  log = cloud.folder / 'worker_1/scribble_jax/runs/worker.log'
  assert 'python -m scribble_jax.main' in log.read_text()


def test_watch_goes_on_after_preemptions(cloud):
  done = cloud.watch(
      ['hangs', '75', '0'], ['preempted', 'preempted', '0'],
      options=['--delete'])
  assert done.returncode == 0, done.stderr
  assert cloud.starts() == (3, 3)
  assert len(cloud.calls('create')) == 3
  assert len(cloud.calls('delete')) == 3  # The last one by --delete.


@pytest.mark.parametrize('first, second', [
    ('75', '75'), ('0', '134'), ('137', '0')])
def test_watch_starts_again(cloud, first, second):
  done = cloud.watch([first, '0'], [second, '0'])
  assert done.returncode == 0, done.stderr
  assert f'Exit code {max(int(first), int(second))}. Restart 1' in done.stderr
  assert cloud.starts() == (2, 2)
  assert len(cloud.calls('create')) == 1


@pytest.mark.parametrize('first, second, code', [
    ('1', '1', 1), ('134', '1', 1), ('1', '75', 1), ('137', '130', 130)])
def test_watch_ends_with_the_program(cloud, first, second, code):
  done = cloud.watch([first, '0'], [second, '0'])
  assert done.returncode == code
  assert cloud.starts() == (1, 1)


def test_watch_gives_up(cloud):
  done = cloud.watch(['134'] * 9, ['134'] * 9, options=['--max_restarts=2'])
  assert done.returncode == 134
  assert cloud.starts() == (3, 3)
  assert 'No more restarts (--max_restarts=2)' in done.stderr


def test_watch_survives_a_lost_connection(cloud):
  done = cloud.watch(['ends'], ['ends'], trouble='list follow follow')
  assert done.returncode == 0, done.stderr
  assert 'UNKNOWN' in done.stderr  # Google couldn't be asked, at first.
  assert done.stderr.count('Connecting again') == 2
  assert cloud.starts() == (1, 1)


def test_watch_does_not_insist_on_a_tpu_that_cannot_be_created(cloud):
  done = cloud.watch(trouble='create')
  assert done.returncode == 1
  assert "error: scribble can't be created" in done.stderr
  assert len(cloud.calls('create')) == 1


def test_watch_waits_for_a_free_tpu_after_a_preemption(cloud):
  cloud.run('create', '--type=v5litepod-16')
  done = cloud.watch(['preempted', '0'], ['hangs', '0'],
                     trouble='create create')
  assert done.returncode == 0, done.stderr
  assert len(cloud.calls('create')) == 1 + 3


def test_queued_tpu(cloud):
  done = cloud.watch(['preempted', '0'], ['hangs', '0'],
                     options=['--queued', '--spot', '--delete'])
  assert done.returncode == 0, done.stderr
  for verb in ('create', 'delete'):
    first, second = cloud.calls(verb)
    assert first == second and first[2] == 'queued-resources'
  assert '--spot' in cloud.calls('create')[0]


def test_command_outlives_its_connection(cloud):
  for command in (['create', '--type=v4-8'], ['setup']):
    assert cloud.run(*command).returncode == 0
  lost = cloud.begin('run', '--', *PROGRAM, scripts=[['saves'], ['saves']])
  wait_until(lambda: len(  # Two of setup, two of start, one of follow.
      (cloud.folder / 'sessions').read_text().split()) == 5)
  os.killpg(lost.pid, signal.SIGINT)
  assert 'The command goes on' in lost.communicate(timeout=60)[1]
  assert lost.returncode == 130

  status = cloud.run('status').stdout
  assert status.startswith('READY\n') and status.count(': running: ') == 2
  watch = cloud.begin('watch', '--type=v4-8', '--max_restarts=0', '--',
                      *PROGRAM)
  wait_until(lambda: 'worker.sh follow' in str(cloud.calls('ssh')[-1]))
  stopped = cloud.run('stop')
  assert (stopped.returncode, stopped.stdout.count('exit_code=75')) == (0, 2)
  output, _ = watch.communicate(timeout=60)
  assert watch.returncode == 75 and 'saved' in output
  assert cloud.starts() == (1, 1) and len(cloud.calls('scp')) == 1


def test_repeated_start_does_nothing(cloud):
  for command in (['create', '--type=v4-8'], ['setup']):
    cloud.run(*command)
  first = cloud.begin('run', '--', *PROGRAM, scripts=[['saves'], ['saves']])
  wait_until(lambda: cloud.starts() == (1, 1))
  second = cloud.begin('run', '--', *PROGRAM)
  wait_until(lambda: len([
      call for call in cloud.calls('ssh') if 'follow' in str(call)]) == 2)
  cloud.run('stop')
  assert 'Already running.' in second.communicate(timeout=60)[0]
  assert 'Already running.' not in first.communicate(timeout=60)[0]
  assert (first.returncode, second.returncode) == (75, 75)
  assert cloud.starts() == (1, 1)


def test_command_that_went_with_its_machine(cloud):
  for command in (['create', '--type=v4-8'], ['setup']):
    cloud.run(*command)
  done = cloud.run('run', '--', *PROGRAM, scripts=[['0', 'hangs']] * 2)
  assert done.returncode == 0, done.stderr
  lost = cloud.begin('run', '--', *PROGRAM)
  wait_until(lambda: cloud.starts() == (2, 2))
  for session in (cloud.folder / 'sessions').read_text().split():
    with contextlib.suppress(ProcessLookupError):
      os.killpg(int(session), signal.SIGKILL)
  lost.communicate(timeout=60)
  assert cloud.run('status').stdout.count('exit_code=255') == 2


def wait_until(condition):
  deadline = time.monotonic() + 60
  while not condition():
    assert time.monotonic() < deadline
    time.sleep(0.1)


# Slurm


def run_slurm(folder, *, code, state='RUNNING', restarts='0'):
  """Runs the batch script where srun ends with a code; (done, calls)."""
  for name, text in (
      ('srun', f'exit {code}'), ('squeue', f'echo {state}'), ('scontrol', '')):
    write_script(folder / 'bin' / name,
                 f'echo "{name} $*" >>{folder}/calls\n{text}')
  write_script(folder / '.venv/bin/python', '')
  (folder / 'launch').mkdir()
  script = shutil.copy(REPOSITORY / 'launch/slurm.sh', folder / 'launch')
  done = run(
      script, *PROGRAM, cwd=folder, PATH=f'{folder}/bin:{os.environ["PATH"]}',
      SLURM_JOB_ID='42', SLURM_RESTART_COUNT=restarts, MAX_RESTARTS='3',
      SLURM_GPUS_PER_NODE='4', SLURM_NTASKS_PER_NODE='4')
  return done, (folder / 'calls').read_text().splitlines()


@pytest.mark.parametrize('code', [75, 134, 137, 143])
def test_slurm_queues_again(tmp_path, code):
  done, calls = run_slurm(tmp_path, code=code, restarts='2')
  assert done.returncode == 0, done.stderr
  assert calls[0].endswith(' --task ' + ' '.join(PROGRAM))
  assert calls[-1] == 'scontrol requeue 42'


@pytest.mark.parametrize('code, state, restarts, expected', [
    (0, 'RUNNING', '0', 0),
    (255, 'RUNNING', '0', 1),  # A task's 1.
    (130, 'RUNNING', '0', 130),
    (75, 'COMPLETING', '0', 75),  # By scancel.
    (134, 'RUNNING', '3', 1),
])
def test_slurm_ends(tmp_path, code, state, restarts, expected):
  done, calls = run_slurm(tmp_path, code=code, state=state, restarts=restarts)
  assert done.returncode == expected
  assert not any(call.startswith('scontrol') for call in calls)


@pytest.mark.parametrize('code, expected', [
    (0, 0), (1, 255), (75, 75), (130, 130), (134, 134)])
def test_a_users_error_is_the_highest_code_of_a_slurm_job(code, expected):
  done = run('launch/slurm.sh', '--task', 'bash', '-c', f'exit {code}')
  assert done.returncode == expected


def test_slurm_has_a_task_for_each_gpu():
  options = dict(re.findall(
      '^#SBATCH --([a-z-]+)=(.*)$',
      (REPOSITORY / 'launch/slurm.sh').read_text(), re.MULTILINE))
  assert options['gpus-per-node'] == options['ntasks-per-node']
  # Of all tasks: B: would signal the script alone.
  assert re.fullmatch(r'TERM@\d+', options['signal'])


# Kubernetes


def test_jobset():
  jobset = yaml.safe_load((REPOSITORY / 'launch/kubernetes.yaml').read_text())
  assert jobset['apiVersion'] == 'jobset.x-k8s.io/v1alpha2'
  (replicated,) = jobset['spec']['replicatedJobs']
  job = replicated['template']['spec']
  pod = job['template']['spec']
  (container,) = pod['containers']
  flags = dict(word[2:].split('=', 1) for word in container['command']
               if word.startswith('--'))

  pods = int(flags['num_processes'])
  assert replicated['replicas'] == 1
  assert job['completions'] == job['parallelism'] == pods
  across, down = map(int, pod['nodeSelector'][
      'cloud.google.com/gke-tpu-topology'].split('x'))
  assert across * down == pods * container['resources']['limits'][
      'google.com/tpu']
  # The name that JobSet gives the first pod.
  assert flags['coordinator'].split(':')[0] == '{}-{}-0-0.{}'.format(
      jobset['metadata']['name'], replicated['name'],
      jobset['spec']['network']['subdomain'])
  assert job['completionMode'] == 'Indexed'
  assert flags['process_id'] == '$(JOB_COMPLETION_INDEX)'

  # Any pod's failure starts all anew, but for 1 and 130.
  assert (job['backoffLimit'], pod['restartPolicy']) == (0, 'Never')
  assert jobset['spec']['failurePolicy']['maxRestarts'] > 0
  assert jobset['spec']['failurePolicy']['rules'] == [{
      'action': 'FailJobSet', 'onJobFailureReasons': ['PodFailurePolicy']}]
  assert job['podFailurePolicy']['rules'] == [{
      'action': 'FailJob', 'onExitCodes': {
          'containerName': container['name'], 'operator': 'In',
          'values': [1, 130]}}]


def test_image_has_what_the_program_needs():
  lines = (REPOSITORY / 'launch/Dockerfile').read_text().splitlines()
  copied = [path for line in lines if line.startswith('COPY')
            for path in line.split()[1:-1]]
  sent = (EXPECTED / 'tpu_vm_setup.txt').read_text().splitlines()[0].split()
  assert set(copied) - {'launch/setup.sh'} == set(sent[4:]) - {'launch'}
  assert all((REPOSITORY / path).exists() for path in copied)
  # Installing the program, which the set-up does, takes all of it.
  assert lines.index('COPY scribble_jax scribble_jax') < next(
      i for i, line in enumerate(lines) if line.startswith('RUN'))
