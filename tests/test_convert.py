"""Annotations of other tools: to the exact pixels, and back."""

import base64
import importlib.util
import io
import json
import os
import subprocess
import sys
import zipfile

import h5py
import numpy as np
from PIL import Image
import pytest

from scribble_jax.convert import __main__ as command
from scribble_jax.convert import contours
from scribble_jax.convert import drawing
from scribble_jax.convert import importing
from scribble_jax.convert import rle
from scribble_jax.errors import UserError
from scribble_jax.files import listings
from scribble_jax.files import masks
from tests import converted
from tests import mutations
from tests.test_scribble_commands import contents
from tests.test_scribble_commands import left_in


def convert(capsys, *arguments):
  """Runs the command; returns what it prints."""
  command.main(command.make_parser().parse_args(
      [str(one) for one in arguments]))
  return capsys.readouterr().out


def refusal(capsys, *arguments):
  """Returns the line by which the command refuses its arguments."""
  with pytest.raises(UserError) as error:
    convert(capsys, *arguments)
  assert len(str(error.value).splitlines()) == 1
  return str(error.value)


def scribbles(target):
  return {path.relative_to(target / 'scribbles').with_suffix('').as_posix():
          masks.read_mask(path)
          for path in sorted((target / 'scribbles').rglob('*.png'))}


@pytest.fixture
def source(tmp_path):
  folder = tmp_path / 'source'
  folder.mkdir()
  return folder


@pytest.fixture
def photographs(tmp_path):
  return converted.write_photographs(tmp_path / 'photographs')


# Read


@pytest.mark.parametrize('kind', converted.WRITERS)
def test_bitmaps_come_across_to_the_pixel(
    kind, source, photographs, tmp_path, capsys):
  expected = converted.scene()
  converted.WRITERS[kind](source, expected)
  if kind == 'cvat_masks':  # Black is what nobody has annotated.
    for mask in expected.values():
      mask[mask == 0] = 255
  flags = ('--from=masks',) if kind == 'masks' else ()  # As napari's, else.
  report = convert(capsys, source, tmp_path / 'out',
                   f'--images={photographs}', *flags)
  found = scribbles(tmp_path / 'out')
  if kind == 'supervisely':
    found = {name.removeprefix('ds/'): mask for name, mask in found.items()}
  assert found.keys() == expected.keys()
  for name, mask in expected.items():
    np.testing.assert_array_equal(found[name], mask)
  assert (tmp_path / 'out/classes.txt').read_text().split() == [
      *converted.NAMES]
  pixels = sum(int((mask == 1).sum()) for mask in expected.values())
  if kind != 'ilastik':  # It has blocks.
    assert ['cat', '2', '2', str(pixels)] in [
        line.split() for line in report.splitlines()]
  assert f'2 pictures of {kind} in' in report
  assert not list(tmp_path.glob('**/pickled'))


@pytest.mark.parametrize('kind', converted.DRAWERS)
def test_shapes_come_across_to_the_pixel(
    kind, source, photographs, tmp_path, capsys):
  write, drawn = converted.DRAWERS[kind]
  write(source)
  report = convert(capsys, source, tmp_path / 'out', '--boxes=mask',
                   f'--images={photographs}')
  np.testing.assert_array_equal(
      scribbles(tmp_path / 'out')['a'], converted.drawn(drawn))
  count = len(drawn) - ('box' in drawn)
  assert ['cat', '1', str(count)] in [
      line.split()[:3] for line in report.splitlines()]
  if kind == 'scribbles4all':
    assert '1 left out: is of unlabelled pixels' in report
