"""Configs of files and of workdirs, and the flags that change them."""

import json
import math
import re
import subprocess
import sys
import traceback

from absl import flags
from ml_collections import ConfigDict
from ml_collections import config_dict
import pytest

from configs import demo
from configs import own_data
from configs import scribblesup
from scribble_jax import command_line
from scribble_jax import config_files
from scribble_jax import config_keys
from scribble_jax.errors import UserError
from tests.test_main import REPOSITORY


@pytest.fixture
def workdir(tmp_path):
  """A workdir of a run with numbers of its own, as training leaves it."""
  config = own_data.get_config('deeplabv2_resnet50')
  config.data.crop_size = 321
  config.data.root = 'a'
  config.evaluation.scales = (0.75, 1.0)
  config.model.num_classes = 3
  return write_run(tmp_path / 'run', json.loads(config.to_json()))


def write_run(folder, stored):
  folder.mkdir(exist_ok=True)
  (folder / 'config.json').write_text(json.dumps(stored))
  return folder


def stored_in(workdir):
  return json.loads((workdir / 'config.json').read_text())


@pytest.fixture
def parse(monkeypatch):
  """Parses a command's arguments as its process does; returns its config."""
  before = set(flags.FLAGS)

  def parse(*args, run_flags=('workdir', 'checkpoint')):
    forget()
    holder = command_line.define_config(*run_flags)
    flags.DEFINE_string('workdir', None, '')
    flags.DEFINE_string('checkpoint', None, '')
    argv = ['command', *map(str, args)]
    monkeypatch.setattr(sys, 'argv', argv)
    assert command_line._parse_flags(argv)[0] == 'command'
    return holder.value

  def forget():
    for name in set(flags.FLAGS) - before:
      delattr(flags.FLAGS, name)

  yield parse
  forget()


# Of a workdir


@pytest.mark.parametrize('make', [
    demo.get_config, own_data.get_config, scribblesup.get_config,
    lambda: own_data.get_config('small_dinov2')])
def test_a_config_comes_back_as_it_was(tmp_path, make, caplog):
  config = make()
  restored = config_files.of_run(
      write_run(tmp_path / 'run', json.loads(config.to_json())))
  config_keys.check(restored, config_keys.STAGE2)
  assert restored.to_dict() == config.to_dict()  # Tuples are tuples again.
  assert types(restored) == types(config)  # Also of what is None.
  assert not caplog.text


def types(config):
  return {key: types(config[key]) if isinstance(config[key], ConfigDict)
          else config.get_type(key) for key in config}


def test_flags_replace_what_is_none(parse, tmp_path):
  stored = json.loads(scribblesup.get_config().to_json())
  stored['evaluation']['long_side'] = None  # A number by default.
  stored['stage1']['evaluation']['long_side'] = None  # None by default.
  run = write_run(tmp_path / 'run', stored)
  assert parse(f'--workdir={run}').evaluation.long_side is None
  config = parse(f'--workdir={run}', '--config.evaluation.long_side=300',
                 '--config.stage1.evaluation.long_side=200')
  assert config.evaluation.long_side == 300
  assert config.stage1.evaluation.long_side == 200


def test_flags_make_none_of_what_may_be_none(parse, tmp_path, monkeypatch):
  defaults = scribblesup.get_config()
  del defaults.evaluation.long_side
  defaults.evaluation.long_side = config_dict.FieldReference(
      512, field_type=object)
  monkeypatch.setattr(scribblesup, 'get_config', lambda: defaults)
  run = write_run(tmp_path / 'run', json.loads(defaults.to_json()))
  assert parse(f'--workdir={run}').evaluation.long_side == 512
  config = parse(f'--workdir={run}', '--config.evaluation.long_side=None')
  assert config.evaluation.long_side is None


def test_keys_that_an_older_version_lacked_get_the_defaults(workdir, caplog):
  stored = stored_in(workdir)
  del stored['data']['lambda_c'], stored['mesh'], stored['stage1']['labels']
  restored = config_files.of_run(write_run(workdir, stored))
  config_keys.check(restored, config_keys.STAGE2)
  assert restored.data.lambda_c == math.e**6
  assert restored.mesh.to_dict() == {'data': -1, 'model': 1}
  assert restored.stage1.labels.threshold == 0.3
  assert restored.data.crop_size == 321
  assert caplog.messages == [
      f'{workdir}/config.json was written by an older version. Missing keys '
      'have the values of configs/scribblesup.py: data.lambda_c, mesh, '
      'stage1.labels.']


@pytest.mark.parametrize('content, message', [
    (None, 'is no workdir of a training run: it holds no readable config.json'),
    ('{"model": ', 'is no workdir of a training run'),
    ('[]', 'is a workdir of stage 1'),
    ('{"supervision": "classes"}',
     'is a workdir of stage 1, which makes pseudo-labels'),
])
def test_folders_without_a_network(tmp_path, content, message):
  if content is not None:
    (tmp_path / 'config.json').write_text(content)
  with pytest.raises(UserError, match=message) as error:
    config_files.of_run(tmp_path)
  assert '\n' not in str(error.value)


def test_the_workdir_decides(parse, workdir, capsys):
  for flag in (f'--workdir={workdir}', f'--checkpoint={workdir}'):
    config = parse(flag)
    assert (config.data.crop_size, config.evaluation.scales) == (
        321, (0.75, 1.0))
    assert (config.model.head, config.model.backbone) == (
        'deeplabv2', 'resnet50')
    with pytest.raises(KeyError):
      config.data['typo'] = 1  # Locked.
  assert capsys.readouterr().out == ''
  assert parse('--workdir', workdir).data.crop_size == 321


def test_each_flag_that_changes_it_is_named(parse, workdir, capsys):
  config = parse(
      '--config.evaluation.scales=(1.0,)', f'--workdir={workdir}',
      '--config.data.root=b', '--config.data.crop_size=321',
      '--noconfig.evaluation.flip')
  assert (config.evaluation.scales, config.data.root) == ((1.0,), 'b')
  assert capsys.readouterr().out == (
      f"Of {workdir}'s config, changed by flags: data.root: 'a' -> 'b', "
      'evaluation.scales: (0.75, 1.0) -> (1.0,).\n')


def test_another_config_beside_a_workdir_is_refused(parse, workdir):
  for args in ((f'--workdir={workdir}', '--config=configs/demo.py'),
               ('--config', 'configs/demo.py', f'--checkpoint={workdir}')):
    with pytest.raises(UserError, match=(
        f'--config=configs/demo.py: {workdir} holds the config of its run. '
        'Leave --config out')):
      parse(*args)


def test_a_file_of_weights_needs_a_config(parse, tmp_path):
  file = tmp_path / 'weights.pth'
  file.write_bytes(b'')
  with pytest.raises(UserError, match=(
      f'{file} holds weights alone. Name the config of its network, such as '
      '--config=configs/scribblesup.py:deeplabv2_resnet50')):
    parse(f'--checkpoint={file}', '--config.data.root=b')
  with pytest.raises(UserError, match='gone.pth does not exist'):
    parse('--checkpoint=gone.pth')
  config = parse('--config=configs/demo.py', f'--checkpoint={file}',
                 '--config.data.root=b')
  assert (config.data.root, config.model.width) == ('b', 8)


def test_training_needs_a_config_as_before(parse, workdir):
  with pytest.raises(UserError, match='config'):
    parse(f'--workdir={workdir}', run_flags=())
  config = parse(f'--workdir={workdir}', '--config=configs/demo.py',
                 '--config.seed=3', run_flags=())
  assert (config.seed, config.data.crop_size) == (3, 81)


# Of a file


def write_config(tmp_path, text):
  path = tmp_path / 'mine.py'
  path.write_text(text)
  return path


FROM_DEMO = 'from configs import demo\n\n\ndef get_config():\n'


@pytest.mark.parametrize('text, suffix, message', [
    (None, '', 'mine.py: No such file or directory. Name a config file'),
    ('def get_config():\n  return (\n', '', 'mine.py, line 2: .*never closed'),
    ('x = 1\n', '', 'has no function get_config'),
    (FROM_DEMO + '  return demo.get_config()\n', ':fast',
     "called with .'fast'"),
    ('def get_config(variant):\n  return variant\n', '',
     'called with no argument .*variant'),
    (FROM_DEMO + '  demo.get_config()\n', '', 'returns None'),
    (FROM_DEMO + "  return demo.get_config('vgg')\n", '',
     "Unknown variant 'vgg'. Choose from"),
])
def test_mistakes_in_naming_a_file_are_one_line(
    parse, tmp_path, text, suffix, message):
  path = tmp_path / 'mine.py'
  if text is not None:
    write_config(tmp_path, text)
  with pytest.raises(UserError, match=message) as error:
    parse(f'--config={path}{suffix}', run_flags=())
  assert '\n' not in str(error.value)


def test_a_folder_is_no_config(parse, tmp_path):
  with pytest.raises(UserError, match='Is a directory. Name a config file'):
    parse(f'--config={tmp_path}', run_flags=())


@pytest.mark.parametrize('line, kind', [
    ("config['no_such']", KeyError), ('confg.seed = 1', NameError),
    ("int('x')", ValueError), ('config.seed()', TypeError),
    ("open('/nowhere')", FileNotFoundError), ('config.a.b', AttributeError),
    ('import nowhere', ImportError), ('1 / 0', ZeroDivisionError),
])
def test_mistakes_in_its_code_keep_their_traceback(parse, tmp_path, line, kind):
  path = write_config(
      tmp_path, f'{FROM_DEMO}  config = demo.get_config()\n  {line}\n'
      '  return config\n')
  with pytest.raises(kind) as error:
    parse(f'--config={path}', run_flags=())
  frames = traceback.extract_tb(error.value.__traceback__)
  assert (str(path), 6) in {(frame.filename, frame.lineno) for frame in frames}


@pytest.mark.parametrize('flag, message', [
    ('--config.optim.learning_rate=1', 'learning_rate'),
    ('--config.optim.lr.x=1', 'lr'), ('--config.optim.lr=fast', 'fast'),
    ('--config.optim=1', 'optim'), ('--config..=1', ''), ('--confg=x', 'confg'),
])
def test_mistakes_in_flags_are_one_line(parse, flag, message):
  with pytest.raises(UserError, match=f'{message}.*try --help') as error:
    parse('--config=configs/demo.py', flag, run_flags=())
  assert '\n' not in str(error.value)


def test_the_real_program_shows_the_traceback_of_a_config(tmp_path):
  path = write_config(
      tmp_path, f"{FROM_DEMO}  return demo.get_config()['no_such']\n")
  done = subprocess.run(
      [sys.executable, '-m', 'scribble_jax.prepare', f'--config={path}'],
      cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=False)
  assert done.returncode == 1 and not done.stdout
  assert f'File "{path}", line 5, in get_config' in done.stderr
  assert done.stderr.strip().splitlines()[-1].startswith('KeyError')


@pytest.mark.parametrize('key, value, message', [
    ('data.crop_size', '321', "crop_size is '321', not of type int"),
    ('data.crop_size', None, 'crop_size is None, not of type int'),
    ('batch_size', True, 'batch_size is True, not of type int'),
    ('evaluation.flip', 1, 'flip is 1, not of type bool'),
    ('evaluation.scales', ['a'], r"scales is \['a'\], not of type tuple"),
    ('evaluation.scales', 1.5, 'scales is 1.5, not of type tuple'),
    ('data.train_list', 5, 'train_list is 5, not of type str'),
    ('data', [3], r'data is \[3\], not of type ConfigDict'),
    ('a\\.b', 3, 'does not accept dots')])
def test_a_workdirs_config_whose_values_have_changed_type(
    workdir, key, value, message):
  stored = stored_in(workdir)
  *sections, last = re.split(r'(?<!\\)\.', key)
  place = stored
  for section in sections:
    place = place[section]
  place[last.replace('\\', '')] = value
  with pytest.raises(UserError, match=rf'config\.json is damaged: .*{message}'):
    config_files.of_run(write_run(workdir, stored))


def test_a_workdirs_config_that_is_nested_too_deeply(workdir):
  (workdir / 'config.json').write_text('[' * 100_000)
  with pytest.raises(UserError, match='holds no readable config.json'):
    config_files.of_run(workdir)
