"""Encodes an example as a record, and decodes it.

A record holds the bytes of the image file (or a PNG, if TensorFlow decodes the
file to other pixels than `images.read`), its scribble, pseudo-label and ground
truth, and the two distance maps: about 140 kB per image of VOC.
"""

import contextlib
import dataclasses
import functools
import hashlib
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from scribble_jax.data import distance_maps
from scribble_jax.data import label_checks
from scribble_jax.data import loading
from scribble_jax.files import formats
from scribble_jax.files import masks
from scribble_jax.labels import IGNORE_LABEL
from scribble_jax.labels import meanings
from scribble_jax.weak_labels import deformation

MASKS = ('scribble', 'pseudo_label', 'scribble_distance',
         'pseudo_label_distance', 'ground_truth')


def make_features():
  """Returns the features of a record, for tensorflow-datasets."""
  features = {'id': tfds.features.Text(), 'image': tfds.features.Image()}
  for name in MASKS:
    features[name] = tfds.features.Image(
        shape=(None, None, 1), encoding_format='png')
  return tfds.features.FeaturesDict(features)


class Encoded(NamedTuple):
  """An encoded example.

  Attributes:
    content: The record's bytes, or None if there are problems.
    seen: Return value of `label_checks.count`.
    problems: List of lines.
    digests: {part: int} of the contents, independent of their file format:
      'images', 'scribbles', 'pseudo_labels', 'ground_truths'.
  """
  content: bytes | None
  seen: dict
  problems: list
  digests: dict


# These take longer to make than to use.
_serializer = functools.cache(make_features)
_meanings = functools.cache(meanings)


def encode(example, spec, reading):
  """Reads, checks and encodes one example. Runs in a thread.

  Args:
    example: A `dataset_files.Example`.
    spec: Dict with 'class_names', 'lambda_s', 'lambda_c', 'unlabelled_index',
      'label_map', and METHOD 10's 'scribble_shrink', 'scribble_drop' and
      'scribble_seed'.
    reading: `images.Reading`.

  Returns:
    Encoded.
  """
  maps, problems = loading.load(
      example, spec['class_names'], reading, _meanings(
          spec['unlabelled_index'], spec['label_map'],
          len(spec['class_names'])))
  if problems:
    return Encoded(None, {}, problems, {})
  if maps.scribble is not None:
    maps = dataclasses.replace(maps, scribble=deformation.deform(
        maps.scribble, shrink=spec['scribble_shrink'],
        drop=spec['scribble_drop'], key=(spec['scribble_seed'], example.id)))
  unlabelled = np.full(maps.size, IGNORE_LABEL, np.uint8)
  labels = {
      name: unlabelled if getattr(maps, name) is None else getattr(maps, name)
      for name in ('scribble', 'pseudo_label', 'ground_truth')}
  image = encode_image(maps.file, maps.image)
  features = {'id': example.id, 'image': image}
  for name, values in (labels | {
      'scribble_distance': distance_maps.scribble_distance_map(
          labels['scribble'], spec['lambda_s']),
      'pseudo_label_distance': distance_maps.pseudo_label_distance_map(
          labels['pseudo_label'], spec['lambda_c']),
  }).items():
    features[name] = masks.encode_grey(values)
  # Without `deterministic`, each process has its own order of the features.
  content = tf.train.Example.FromString(_serializer().serialize_example(
      features)).SerializeToString(deterministic=True)
  return Encoded(content, label_checks.count(example.id, maps), [], {
      f'{part}s': _digest(example.id, value)
      for part, value in ({'image': image} | labels).items()})


def _digest(name, value):
  """Returns 128 bits of a hash of an image's bytes, or of [H, W] labels."""
  digest = hashlib.sha256(f'{name} {np.shape(value)} '.encode())
  digest.update(np.ascontiguousarray(np.frombuffer(value, np.uint8)
                                     if isinstance(value, bytes) else value))
  return int.from_bytes(digest.digest()[:16])


def encode_image(file, pixels):
  """Returns bytes that `decode_image` decodes to an image.

  Args:
    file: Bytes of the image's file or None. They are returned unless
      TensorFlow fails to decode them, or decodes them to other pixels.
    pixels: [H, W, 3] uint8.
  """
  with contextlib.suppress(tf.errors.OpError):
    if file and np.array_equal(decode_image(file), pixels):
      return file
  return formats.encode_png(pixels)


def decode_image(content):
  """Decodes the bytes of a JPEG or PNG to a tensor, [H, W, 3] uint8."""
  # decode_jpeg reads PNG as well. Pillow and OpenCV use the accurate transform.
  return tf.io.decode_jpeg(
      content, channels=3, dct_method='INTEGER_ACCURATE')


def decode_window(content, window):
  """Decodes a part of an image; of a JPEG, the rest is not decoded.

  Args:
    content: Bytes of a JPEG or PNG.
    window: [4] int32, (top, left, height, width) in pixels. If the colours of
      a JPEG have a lower resolution, the outermost pixels of the window may
      differ from those of `decode_image`: their neighbours are not decoded.
  """
  top, left, height, width = tf.unstack(window)
  return tf.cond(
      tf.io.is_jpeg(content),
      lambda: tf.image.decode_and_crop_jpeg(
          content, window, channels=3, dct_method='INTEGER_ACCURATE'),
      lambda: decode_image(content)[top:top + height, left:left + width])


def parse(content, names):
  """Returns features of a record as scalar strings, still encoded.

  Args:
    content: Scalar string, a record.
    names: Names from 'id', 'image' and MASKS.
  """
  return tf.io.parse_single_example(
      content, {name: tf.io.FixedLenFeature([], tf.string) for name in names})
