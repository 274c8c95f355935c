"""One record: an example as bytes, and back.

It holds an image's own bytes (as PNG, if TensorFlow does not decode the file to
what `images.read` sees), its scribble, pseudo-label and ground truth, and the
two distance maps, made here once (about 140 kB an image of VOC).
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
  """Returns what a record holds, as tensorflow-datasets describes it."""
  features = {'id': tfds.features.Text(), 'image': tfds.features.Image()}
  for name in MASKS:
    features[name] = tfds.features.Image(
        shape=(None, None, 1), encoding_format='png')
  return tfds.features.FeaturesDict(features)


class Encoded(NamedTuple):
  """What became of an example.

  Attributes:
    content: The record's bytes, or None if there are problems.
    seen: What `label_checks.count` returns.
    problems: One line for each.
    digests: {part: int} of what training learns from, whatever file held it:
      'images', 'scribbles', 'pseudo_labels', 'ground_truths'.
  """
  content: bytes | None
  seen: dict
  problems: list
  digests: dict


def encode(example, spec, reading):
  """Returns an `Encoded`; the arguments are those of `encode_example`."""
  features, seen, problems, digests = encode_example(example, spec, reading)
  if problems:
    return Encoded(None, seen, problems, digests)
  content = _serializer().serialize_example(features)
  # Otherwise each process has an order of its own for the features.
  return Encoded(tf.train.Example.FromString(content).SerializeToString(
      deterministic=True), seen, problems, digests)


@functools.cache
def _serializer():
  return make_features()  # Making it takes longer than using it.


def encode_example(example, spec, reading):
  """Reads, checks and encodes one example. Runs in a thread.

  Args:
    example: A `dataset_files.Example`.
    spec: 'class_names', 'lambda_s', 'lambda_c', 'unlabelled_index',
      'label_map' and what `_deformed` needs.
    reading: `images.Reading`.

  Returns:
    features: The record, or None if there are problems.
    seen: What `label_checks.count` returns.
    problems: One line for each.
    digests: See `Encoded`.
  """
  maps, problems = loading.load(
      example, spec['class_names'], reading, _meanings(
          spec['unlabelled_index'], spec['label_map'],
          len(spec['class_names'])))
  if problems:
    return None, {}, problems, {}
  maps = dataclasses.replace(
      maps, scribble=_deformed(maps.scribble, example, spec))
  unlabelled = np.full(maps.size, IGNORE_LABEL, np.uint8)
  labels = {
      name: unlabelled if value is None else value
      for name, value in (('scribble', maps.scribble),
                          ('pseudo_label', maps.pseudo_label),
                          ('ground_truth', maps.ground_truth))}
  features = {'id': example.id, 'image': encode_image(maps.file, maps.image)}
  for name, values in (labels | {
      'scribble_distance': distance_maps.scribble_distance_map(
          labels['scribble'], spec['lambda_s']),
      'pseudo_label_distance': distance_maps.pseudo_label_distance_map(
          labels['pseudo_label'], spec['lambda_c']),
  }).items():
    features[name] = masks.encode_grey(values)
  digests = {f'{part}s': _digest(example.id, value) for part, value in (
      {'image': features['image']} | labels).items()}
  return features, label_checks.count(example.id, maps), [], digests


_meanings = functools.cache(meanings)  # Parsing takes longer than using them.


def _digest(name, value):
  """Returns a number of 128 bits for an image's bytes, or [H, W] labels."""
  digest = hashlib.sha256(f'{name} {np.shape(value)} '.encode())
  digest.update(np.ascontiguousarray(np.frombuffer(value, np.uint8)
                                     if isinstance(value, bytes) else value))
  return int.from_bytes(digest.digest()[:16])


def encode_image(file, pixels):
  """Returns bytes that `decode_image` turns into an image.

  Args:
    file: The image's file, if that should do; Pillow forgives damage that
      TensorFlow does not, or sees something else in it. Or None.
    pixels: [H, W, 3] uint8.
  """
  with contextlib.suppress(tf.errors.OpError):
    if file and np.array_equal(decode_image(file), pixels):
      return file
  return formats.encode_png(pixels)


def decode_image(content):
  """Bytes of a JPEG or PNG -> [H, W, 3] uint8, as a tensor."""
  # Reads PNG as well, in spite of its name. The accurate transform is the one
  # that Pillow and OpenCV use.
  return tf.io.decode_jpeg(
      content, channels=3, dct_method='INTEGER_ACCURATE')


def decode_window(content, window):
  """Returns a part of what `decode_image` does, of a JPEG for less.

  Args:
    content: Bytes of a JPEG or PNG.
    window: [4] int32, (top, left, height, width) in pixels. Where the image
      goes on, the outermost pixels of a JPEG whose colours have a lower
      resolution may differ: their neighbours are not decoded.
  """
  top, left, height, width = tf.unstack(window)
  return tf.cond(
      tf.io.is_jpeg(content),
      lambda: tf.image.decode_and_crop_jpeg(
          content, window, channels=3, dct_method='INTEGER_ACCURATE'),
      lambda: decode_image(content)[top:top + height, left:left + width])


def _deformed(scribble, example, spec):
  """Returns a scribble as poor as METHOD 10's ratios in the spec say."""
  if scribble is None:
    return None
  return deformation.deform(
      scribble, shrink=spec['scribble_shrink'], drop=spec['scribble_drop'],
      key=(spec['scribble_seed'], example.id))


def parse(content, names):
  """Returns some features of a record, scalar strings, still encoded.

  Args:
    content: Scalar string, a record.
    names: 'id', 'image' or of MASKS.
  """
  return tf.io.parse_single_example(
      content, {name: tf.io.FixedLenFeature([], tf.string) for name in names})
