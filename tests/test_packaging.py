"""The program as an installed package, and its one command."""

import pathlib
import subprocess
import sys
import zipfile

import pytest

REPOSITORY = pathlib.Path(__file__).parent.parent
NOT_SHIPPED = {'.pyc'}


@pytest.fixture(name='installed', scope='module')
def install(tmp_path_factory):
  """A folder with the unpacked wheel, outside of the repository."""
  folder = tmp_path_factory.mktemp('installed')
  done = subprocess.run(
      [sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps',
       '--no-build-isolation', '--wheel-dir', folder / 'wheels',
       copy_of_sources(folder / 'sources')],
      capture_output=True, text=True, timeout=300, check=False)
  assert done.returncode == 0, done.stderr
  (wheel,) = (folder / 'wheels').iterdir()
  with zipfile.ZipFile(wheel) as archive:
    archive.extractall(folder / 'site')
  return folder / 'site'


def copy_of_sources(folder):
  """Copies what launch/tpu_vm.sh sends, which is installed on the workers."""
  folder.mkdir()
  archive = (REPOSITORY / 'tests/launch_expected/tpu_vm_setup.txt').read_text()
  sent = tuple(archive.splitlines()[0].split()[4:])
  listed = subprocess.run(
      ['git', 'ls-files', '--cached', '--others', '--exclude-standard'],
      cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
  for name in listed.splitlines():
    if pathlib.Path(name).parts[0] in sent:
      target = folder / name
      target.parent.mkdir(parents=True, exist_ok=True)
      if (REPOSITORY / name).is_symlink():
        target.symlink_to((REPOSITORY / name).readlink())
      elif (REPOSITORY / name).exists():
        target.write_bytes((REPOSITORY / name).read_bytes())
  return folder


def files_of(folder):
  return {path.relative_to(folder): path.read_bytes()
          for path in folder.rglob('*')
          if path.is_file() and path.suffix not in NOT_SHIPPED}


def test_wheel_has_every_file_of_the_program_and_its_configs(installed):
  program = files_of(REPOSITORY / 'scribble_jax')
  configs = {'configs' / path: content for path, content
             in files_of(REPOSITORY / 'configs').items()}
  assert files_of(installed / 'scribble_jax') == program | configs
  assert {path.name for path in installed.iterdir()} == {
      'scribble_jax', 'scribble_jax-0.1.0.dist-info'}


def run(installed, folder, *arguments):
  """Runs the command as the script of an installed package does."""
  return subprocess.run(
      [sys.executable, '-P', '-c',
       'from scribble_jax import __main__; __main__.main()', *arguments],
      cwd=folder, capture_output=True, text=True, timeout=300, check=False,
      env={'PATH': '/usr/bin:/bin', 'PYTHONPATH': str(installed),
           'HOME': str(folder), 'JAX_PLATFORMS': 'cpu'})


def test_command_lists_what_there_is(installed, tmp_path):
  done = run(installed, tmp_path)
  assert done.returncode == 0
  for line in ('  train          Trains', '  annotate       Opens',
               '  predict        Predicts'):
    assert line in done.stdout


def test_unknown_command_is_one_line(installed, tmp_path):
  done = run(installed, tmp_path, 'trian')
  assert done.returncode == 1
  assert done.stderr.startswith("error: scribble-jax has no command 'trian'.")
  assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize('config', [
    'demo', 'demo.py', 'configs/demo.py', 'demo:scribble_only'])
def test_configs_have_names_anywhere(installed, tmp_path, config):
  done = run(installed, tmp_path, 'train', f'--config={config}',
             '--config.batch_size=-1', f'--workdir={tmp_path / "run"}')
  assert done.returncode == 1
  assert 'batch_size is -1' in done.stderr


def test_unknown_config_names_those_there_are(installed, tmp_path):
  done = run(installed, tmp_path, 'train', '--config=scribblsup',
             f'--workdir={tmp_path / "run"}')
  assert done.returncode == 1
  assert done.stderr.startswith('error: --config=scribblsup: ')
  assert 'own_data, pascal_context' in done.stderr
