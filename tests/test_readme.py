"""README and docs: their links, config keys and commands exist."""

import pathlib
import re

from flax import traverse_util
import pytest

from configs import pseudo_labels
from configs import scribblesup

ROOT = pathlib.Path(__file__).parents[1]
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text() for path in (
    ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md')))}
EVERYTHING = '\n'.join(PAGES.values())


@pytest.mark.parametrize('page', PAGES)
def test_links_lead_somewhere(page):
  text = re.sub(r'^```.*?^```', '', PAGES[page], flags=re.DOTALL | re.MULTILINE)
  anchors = {'#' + re.sub(r'[^\w -]', '', title.lower()).replace(' ', '-')
             for title in re.findall(r'^##+ (.+)$', text, re.MULTILINE)}
  for link in re.findall(r'\]\(([^)]+)\)', text):
    assert (link.startswith('https://') or link in anchors
            or (ROOT / page).parent.joinpath(link).exists()), link


def test_config_keys_exist():
  prose = re.sub(r'^```.*?^```', '', EVERYTHING, flags=re.DOTALL | re.MULTILINE)
  keys = {*re.findall(r'\bconfig\.([a-z]\w*(?:\.\w+)*)', prose)}
  assert len(keys) > 20
  known = {  # Sections count too.
      '.'.join(path[:depth])
      for config in (scribblesup.get_config(), pseudo_labels.get_config())
      for path in traverse_util.flatten_dict(config.to_dict())
      for depth in range(1, len(path) + 1)}
  assert keys - known == {'loss_weights.focal'}  # That one of the changes adds.


def test_commands_exist():
  modules = {*re.findall(r'python -m scribble_jax\.(\w+)', EVERYTHING)}
  assert len(modules) > 5
  for name in modules:
    place = ROOT / 'scribble_jax' / name
    assert place.with_suffix('.py').exists() or (
        place / '__main__.py').exists(), name
