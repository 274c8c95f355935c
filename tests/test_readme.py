"""README and docs: their links, config keys, commands and messages exist."""

import ast
import pathlib
import re

from flax import traverse_util
import pytest

from configs import pseudo_labels
from configs import scribblesup

ROOT = pathlib.Path(__file__).parents[1]
DOCS = sorted((ROOT / 'docs').glob('*.md'))
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text() for path in (
    ROOT / 'README.md', *DOCS, ROOT / 'launch/README.md',
    ROOT / 'tests/benchmarks/README.md')}
EVERYTHING = '\n'.join(PAGES.values())
PRODUCT, TESTS = ('\n'.join(
    path.read_text() for folder in folders for path in (ROOT / folder).rglob(
        '*.py')) for folders in (('configs', 'scribble_jax'), ('tests',)))


def prose(text):
  """A page without its blocks of code between fences."""
  return re.sub(r'^```.*?^```', '', text, flags=re.DOTALL | re.MULTILINE)


def titles(text):
  return re.findall(r'^##+ (.+)$', prose(text), re.MULTILINE)


def links(page):
  return re.findall(r'\]\(([^)]+)\)', prose(PAGES[page]))


def test_readme_is_short():
  assert len(PAGES['README.md'].splitlines()) <= 200


@pytest.mark.parametrize('page', PAGES)
def test_links_lead_somewhere(page):
  for link in links(page):
    if link.startswith('https://'):
      continue
    name, _, anchor = link.partition('#')
    target = (ROOT / page).parent / name if name else ROOT / page
    assert target.exists(), link
    if anchor:
      assert anchor in {
          re.sub(r'[^\w -]', '', title.lower()).replace(' ', '-')
          for title in titles(target.read_text())}, link


def test_readme_names_every_page():
  assert {path.relative_to(ROOT).as_posix() for path in DOCS} <= {
      link.partition('#')[0] for link in links('README.md')}


def test_cited_sections_of_the_method_exist():
  there = {title.split()[0].rstrip('.') for title in titles(
      PAGES['docs/method.md'])}
  citations = re.findall(r'METHOD (\d+[a-e]?(?:(?:, | and )\d+[a-e]?)*)',
                         PRODUCT + TESTS + EVERYTHING)
  cited = {*re.findall(r'\d+[a-e]?', ' '.join(citations))}
  assert {'1', '5', '8', '8c', '10'} <= cited <= there


def test_every_switch_of_the_method_is_described():
  described = re.findall(r'^### 8[a-e]\. `(\w+)`', PAGES['docs/method.md'],
                         re.MULTILINE)
  assert sorted(described) == sorted(scribblesup.get_config().method)


def test_config_keys_exist():
  keys = {*re.findall(r'\bconfig\.([a-z]\w*(?:\.\w+)*)', prose(EVERYTHING))}
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
  for name in re.findall(r'(?:configs|tests|launch)/[\w/]+\.(?:py|sh)\b',
                         prose(EVERYTHING)):
    assert (ROOT / name).exists(), name


def texts(node):
  """Texts of a module, an f-string's values replaced by '...'."""
  for child in ast.walk(node):
    if isinstance(child, ast.Constant) and isinstance(child.value, str):
      yield child.value
    elif isinstance(child, ast.JoinedStr):
      yield ''.join(part.value if isinstance(part, ast.Constant) else '...'
                    for part in child.values)


def test_messages_are_those_of_the_program():
  told = '\n'.join(texts(ast.parse(PRODUCT)))
  messages = re.findall(r'\*\*`(.+?)`\*\*', PAGES['docs/troubleshooting.md'])
  assert len(messages) > 30
  for message in messages:
    for part in message.split('...'):
      assert part in told, message
