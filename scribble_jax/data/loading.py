"""Reads and checks the files of an example."""

import dataclasses

import numpy as np

from scribble_jax.files import images
from scribble_jax.files import masks
from scribble_jax.files import storage
from scribble_jax.labels import OWN
from scribble_jax.weak_labels import annotations


@dataclasses.dataclass(frozen=True)
class Maps:
  """The contents of one example.

  Attributes:
    image: [H, W, 3] uint8 RGB, upright.
    file: Bytes of the image's file, if TensorFlow decodes it to `image`, else
      None.
    scribble: [H, W] uint8 or None, as are the other maps.
    pseudo_label: As `scribble`.
    ground_truth: As `scribble`.
    truth_kind: As in `dataset_files.Example`.
    colours: {kind of `labels.KINDS`: {value: (red, green, blue)}} of palettes.
    remarks: `images.Remark`s on the image.
  """
  image: np.ndarray
  file: bytes | None
  scribble: np.ndarray | None
  pseudo_label: np.ndarray | None
  ground_truth: np.ndarray | None
  truth_kind: str
  colours: dict[str, dict[int, tuple[int, int, int]]]
  remarks: tuple[images.Remark, ...]

  @property
  def size(self):
    """(height, width) in pixels."""
    return self.image.shape[:2]


def load(example, class_names, reading=images.READING, meanings=OWN):
  """Reads and checks one example.

  Args:
    example: `dataset_files.Example`.
    class_names: All classes; a mask's indices must be below their number.
    reading: `images.Reading`.
    meanings: Meanings of the values of label images, from `labels.meanings`.

  Returns:
    (Maps, []), or (None, problems) with one line per problem.
  """
  problems, colours = [], {}
  try:
    content = storage.read_bytes(example.image)
    picture = images.read(content, reading)
  except masks.DAMAGED as error:
    return None, [f'{example.image}: {error}']

  def read(path, kind):
    """Returns a mask; None without one, or with a problem, which is listed."""
    if path is None:
      return None
    read_as = lambda size: annotations.read_with_colours(
        path, size, class_names, meaning=meanings[kind],
        max_megapixels=reading.max_megapixels)
    try:
      mask, colours[kind] = read_as(picture.pixels.shape[:2])
      return mask
    except masks.DAMAGED as error:
      problems.append(f'{path}: {_only_fits_stored(picture, read_as) or error}')
      return None

  maps = Maps(
      image=picture.pixels, file=content if picture.is_plain else None,
      scribble=read(example.scribble, 'scribbles'),
      pseudo_label=read(example.pseudo_label, 'pseudo_labels'),
      ground_truth=read(example.ground_truth, example.truth_kind),
      truth_kind=example.truth_kind, colours=colours,
      remarks=_remarks(example, picture))
  return (None, problems) if problems else (maps, [])


def _only_fits_stored(picture, read_as):
  """Returns a message if a mask fits the picture before its EXIF rotation."""
  height, width, _ = picture.pixels.shape
  if picture.orientation < 5 or height == width:
    return ''
  try:
    read_as((width, height))
  except masks.DAMAGED:
    return ''
  return (f'is for the picture as it is stored, {height}x{width} pixels, but '
          f'its image is {width}x{height} pixels upright (EXIF orientation '
          f'{picture.orientation}). Turn this one too, or save the image '
          'upright')


def _remarks(example, picture):
  """Returns the `images.Remark`s on the image of an example."""
  name = example.image.name
  remarks = images.remarks_on(name, picture)
  height, width, _ = picture.pixels.shape
  # Points, boxes and strokes in text files may fit in both orientations.
  is_text = any(isinstance(part, annotations.Annotation)
                for part in (example.scribble, example.ground_truth))
  if picture.orientation > 1 and (
      picture.orientation < 5 or height == width or is_text):
    remarks.append(images.Remark(images.TURNED, name, picture.orientation))
  return tuple(remarks)
