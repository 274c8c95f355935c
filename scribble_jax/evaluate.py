"""Predicts whole images and counts them into a confusion matrix."""

import numpy as np

from scribble_jax import inference
from scribble_jax import metrics


def make_predict(model, mesh, *, window, batch_size):
  """Returns `(variables, images) -> iterator of [H, W] uint8 classes`.

  Images are predicted at their own size and one scale, without flip.

  Args:
    model: Network that returns (logits, features).
    mesh: Mesh with a 'data' axis.
    window: Side of the network's input in pixels.
    batch_size: Windows a batch over all devices.
  """
  window_probabilities = inference.make_window_probabilities(
      model, window, mesh)

  def predict(variables, images):
    for probabilities in inference.image_probabilities(
        window_probabilities, variables, images, window=window,
        batch_size=batch_size, mesh=mesh):
      yield probabilities.argmax(-1).astype(np.uint8)

  return predict


def with_predictions(predict, variables, examples):
  """Yields the examples with their 'prediction', [H, W] uint8.

  Args:
    predict: From `make_predict`.
    variables: 'params' and 'batch_stats'.
    examples: Iterable of dicts with an 'image', [H, W, 3] uint8.
  """
  under_way = []

  def images():
    for example in examples:
      under_way.append(example)
      yield example['image']

  for prediction in predict(variables, images()):
    yield under_way.pop(0) | {'prediction': prediction}


def confusion(examples, num_classes):
  """Counts every example once.

  Args:
    examples: Iterable of dicts with 'prediction' and 'ground_truth', [H, W].
    num_classes: C.

  Returns:
    [C, C] int64.
  """
  total = np.zeros([num_classes, num_classes], np.int64)
  for example in examples:
    total += metrics.confusion_matrix(
        example['ground_truth'], example['prediction'], num_classes)
  return total
