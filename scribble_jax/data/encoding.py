"""One record: an example as bytes, and back.

It holds an image's own bytes (as PNG, if TensorFlow does not decode the file to
what `images.read` sees), its scribble, pseudo-label and ground truth, and the
two distance maps, made here once (about 140 kB an image of VOC).
"""

import contextlib
import functools

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from scribble_jax.data import distance_maps
from scribble_jax.data import sources
from scribble_jax.files import formats
from scribble_jax.files import masks
from scribble_jax.labels import IGNORE_LABEL
from scribble_jax.strokes import deformation

MASKS = ('scribble', 'pseudo_label', 'scribble_distance',
         'pseudo_label_distance', 'ground_truth')


def make_features():
  """Returns what a record holds, as tensorflow-datasets describes it."""
  features = {'id': tfds.features.Text(), 'image': tfds.features.Image()}
  for name in MASKS:
    features[name] = tfds.features.Image(
        shape=(None, None, 1), encoding_format='png')
  return tfds.features.FeaturesDict(features)


def encode(example, spec, reading):
  """As `encode_example`, but the features are a record's bytes."""
  features, is_empty, remarks, problems = encode_example(example, spec, reading)
  if problems:
    return None, is_empty, remarks, problems
  content = _serializer().serialize_example(features)
  # Otherwise each process has an order of its own for the features.
  return tf.train.Example.FromString(content).SerializeToString(
      deterministic=True), is_empty, remarks, problems


@functools.cache
def _serializer():
  return make_features()  # Making it takes longer than using it.


def encode_example(example, spec, reading):
  """Reads, checks and encodes one example. Runs in a thread.

  Args:
    example: A `sources.Example`.
    spec: 'class_names', 'lambda_s', 'lambda_c' and what `_deformed` needs.
    reading: `images.Reading`.

  Returns:
    features: The record, or None if there are problems.
    is_empty: Whether no pixel is scribbled.
    remarks: `images.Remark`s.
    problems: One line for each.
  """
  maps, problems = sources.load(example, spec['class_names'], reading)
  if problems:
    return None, False, (), problems
  unlabelled = np.full(maps.size, IGNORE_LABEL, np.uint8)
  labels = {
      name: unlabelled if value is None else value
      for name, value in (('scribble', _deformed(maps.scribble, example, spec)),
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
  is_empty = bool(np.all(labels['scribble'] == IGNORE_LABEL))
  return features, is_empty, maps.remarks, []


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
