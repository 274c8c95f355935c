"""The classes to draw: names, colours and permanent identifiers.

Strokes refer to a class by its identifier, which stays the same when a class is
renamed or another one is deleted. The index of a class in masks and in
classes.txt is its position in the list.
"""

import dataclasses
import re

from scribble_jax.errors import UserError
from scribble_jax.files import class_list
from scribble_jax.files import listings
from scribble_jax.labels import IGNORE_LABEL

MAX_CLASSES = 200
_MAX_LENGTH = 60  # Characters of a name.
# Also distinguishable with colour blindness; further classes repeat them.
COLOURS = (
    '#8a929e', '#e6550d', '#3182bd', '#31a354', '#e7ba52', '#9e4ac4', '#17becf',
    '#d6278b', '#8c6d31', '#7fc97f', '#5254a3', '#fb8072', '#b5cf6b')
_COLOUR = re.compile('#[0-9a-f]{6}')
# The page shows names as text, but other programs may not.
_UNWANTED = re.compile('[<>]')


@dataclasses.dataclass(frozen=True)
class Class:
  """A class.

  Attributes:
    label: Identifier, 0 for the background.
    name: As in classes.txt.
    colour: '#rrggbb'.
  """
  label: int
  name: str
  colour: str


@dataclasses.dataclass(frozen=True)
class Palette:
  """All classes, background first.

  Attributes:
    classes: In the order of their indices.
    next_label: Identifier of the next new class. A page that was open while a
      class was deleted may still hold strokes of it, so that its identifier is
      given to another class only when all others are used up.
  """
  classes: tuple[Class, ...]
  next_label: int = 0

  @property
  def names(self):
    """The names, by index."""
    return [one.name for one in self.classes]

  @property
  def indices(self):
    """{identifier: index}."""
    return {one.label: index for index, one in enumerate(self.classes)}

  def to_json(self):
    """Returns the content for annotate.json and the page."""
    return {'next': self.next_label, 'classes': [
        {'id': one.label, 'name': one.name, 'colour': one.colour}
        for one in self.classes]}

  def added(self, name, colour=None):
    """Returns the palette with an additional class.

    Raises:
      UserError: The name can't be used, or there are too many classes.
    """
    if len(self.classes) >= MAX_CLASSES:
      raise UserError(f'There are {MAX_CLASSES} classes already. Delete one.')
    taken = {one.label for one in self.classes}
    label = self.next_label
    if label >= IGNORE_LABEL:
      label = next(free for free in range(IGNORE_LABEL) if free not in taken)
    used = {one.colour for one in self.classes}
    colour = colour or next(
        (unused for unused in COLOURS if unused not in used),
        COLOURS[len(self.classes) % len(COLOURS)])
    return _checked((*self.classes, Class(label, _clean(name), colour)),
                    max(label + 1, self.next_label))

  def changed(self, label, name=None, colour=None):
    """Returns the palette with a changed name or colour of a class.

    Raises:
      UserError: There is no such class, or the name or colour can't be used.
    """
    self._find(label)
    return _checked(tuple(
        dataclasses.replace(one, name=_clean(name or one.name),
                            colour=colour or one.colour)
        if one.label == label else one for one in self.classes),
        self.next_label)

  def without(self, label):
    """Returns the palette without a class.

    Raises:
      UserError: There is no such class, or it is the background.
    """
    if not self._find(label).label:
      raise UserError('The background stays. Rename it if it means something '
                      'else.')
    return dataclasses.replace(self, classes=tuple(
        one for one in self.classes if one.label != label))

  def _find(self, label):
    for one in self.classes:
      if one.label == label:
        return one
    raise UserError(f'There is no class {label!r:.40}. Reload the page.')


def of_names(names):
  """Returns the Palette of a class list, background first.

  Raises:
    UserError: A name can't be used.
  """
  palette = Palette(())
  for name in names:
    palette = palette.added(name)
  return palette


def of_json(content):
  """Returns the Palette of parsed JSON.

  Raises:
    UserError: The JSON holds no palette.
  """
  try:
    return _checked(
        tuple(Class(int(one['id']), one['name'], one['colour'])
              for one in content['classes']), int(content['next']))
  except (TypeError, KeyError, ValueError) as error:
    raise UserError(f'The list of classes is damaged ({error!r}).') from error


def _clean(name):
  """Returns a name as it is stored.

  Raises:
    UserError: The name can't be used.
  """
  if not isinstance(name, str):
    raise UserError('The name of a class must be a text.')
  name = ' '.join(listings.nfc(name).split())
  if not name or len(name) > _MAX_LENGTH:
    raise UserError(
        f'The name of a class must have 1 to {_MAX_LENGTH} characters.')
  if _UNWANTED.search(name) or not name.isprintable():
    raise UserError('The name of a class may have neither < nor > nor control '
                    'characters.')
  return name


def _checked(classes, next_label):
  """Returns the Palette of classes.

  Raises:
    UserError: They can't be used together.
  """
  names = [one.name.casefold() for one in classes]
  for one in classes:
    _clean(one.name)
    if names.count(one.name.casefold()) > 1:
      raise UserError(f'There is a class {one.name} already. Choose another '
                      'name.')
    if not isinstance(one.colour, str) or not _COLOUR.fullmatch(one.colour):
      raise UserError(f'The colour of {one.name} is not of the form #rrggbb.')
  if len(classes) > 1:
    class_list.check('classes.txt', [one.name for one in classes])
  return Palette(classes, next_label)
