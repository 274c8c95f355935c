"""What a run leaves on record about itself."""

import importlib.metadata
import json
import shutil
import subprocess

import pytest

from scribble_jax.training import environment


def test_the_time_of_all_starts_counts(tmp_path, monkeypatch):
  clock = iter([0.0, 5.0, 100.0, 107.0, 200.0, 201.0])
  monkeypatch.setattr(environment.time, 'monotonic', lambda: next(clock))
  read = lambda: json.loads((tmp_path / 'run.json').read_text())
  with (pytest.raises(KeyboardInterrupt),
        environment.recorded(tmp_path, resuming=False)):
    assert (read()['seconds'], read()['starts']) == (0, 1)
    raise KeyboardInterrupt
  first = read()
  assert first['seconds'] == 5
  with environment.recorded(tmp_path, resuming=True):
    pass
  assert read() | {'seconds': 5, 'starts': 1} == first
  assert (read()['seconds'], read()['starts']) == (12, 2)
  with environment.recorded(tmp_path, resuming=False):  # Anew.
    pass
  assert (read()['seconds'], read()['starts']) == (1, 1)


def test_versions_and_devices_are_named():
  description = environment.describe()
  assert description['versions']['jax'] == importlib.metadata.version('jax')
  assert description['devices'] == '4 x cpu'  # Those of conftest.py.
  assert description['processor'] and description['cores'] >= 1
  assert json.loads(json.dumps(description)) == description


def test_commit_is_the_programs_own(tmp_path, monkeypatch):
  assert environment.describe()['commit']  # Of this clone.
  # Installed into an ignored folder of somebody's repository.
  git = lambda *arguments: subprocess.run(
      ['git', '-C', str(tmp_path), '-c', 'user.name=a', '-c', 'user.email=a@b',
       *arguments], capture_output=True, check=True)
  git('init')
  (tmp_path / '.gitignore').write_text('site\n')
  git('add', '.')
  git('commit', '--message=theirs')
  (tmp_path / 'site').mkdir()
  copy = shutil.copy(environment.__file__, tmp_path / 'site')
  monkeypatch.setattr(environment, '__file__', copy)
  assert environment.describe()['commit'] is None


@pytest.mark.parametrize('content', ['', '{', '[1]', '{}', '[' * 100_000])
def test_a_damaged_description_is_written_anew(tmp_path, content):
  (tmp_path / 'run.json').write_text(content)
  with environment.recorded(tmp_path, resuming=True):
    pass
  assert json.loads((tmp_path / 'run.json').read_text())['starts'] == 1
