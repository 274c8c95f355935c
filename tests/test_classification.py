"""Stage 1's network and losses: known answers, PyTorch, NumPy."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scribble_jax import losses
from scribble_jax import windows
from scribble_jax.models import classifier
from scribble_jax.models.backbones import resnet
from scribble_jax.normalization import IMAGENET_MEAN
from scribble_jax.normalization import IMAGENET_STD
from scribble_jax.pseudo_labels import classification
from tests.peers import torch
from tests.predictions import probabilities

SIZE, CLASSES = 33, 4


def network(output_stride=16, head=None):
  return classifier.ClassificationNetwork(
      CLASSES, resnet.ResNet(18, 4, output_stride=output_stride), head,
      head_width=8, dropout=0.0)


def red_minus_green(variables, images, train):
  """A network whose first class is red without green, the second reversed."""
  del variables, train
  difference = images[..., 0] - images[..., 1]
  return jnp.stack([difference, -difference], -1), None


def test_soft_margin_equals_pytorch():
  rng = np.random.default_rng(0)
  logits = rng.normal(0, 3, [5, 7]).astype(np.float32)
  targets = rng.random([5, 7]) < 0.4
  expected = torch.nn.MultiLabelSoftMarginLoss()(
      torch.tensor(logits), torch.tensor(targets, dtype=torch.float32)).item()
  assert float(losses.mean(*losses.multi_label_soft_margin(
      logits, targets, np.ones([5, 7], bool)))) == pytest.approx(
          expected, rel=1e-5)


def test_unknown_labels_are_left_out():
  logits = np.array([[0.0, 5.0, -2.0]])
  known = np.array([[True, False, True]])
  expected = (np.log(2) + np.log1p(np.exp(-2.0))) / 2
  assert float(losses.mean(*losses.multi_label_soft_margin(
      logits, np.array([[True, True, False]]), known))) == pytest.approx(
          expected, rel=1e-6)


def classification_loss(scribble, in_image):
  """Of logits 1, 2 and 3 for the classes 1, 2 and 3."""
  batch = len(scribble)
  model = types.SimpleNamespace(
      backbone=resnet.ResNet(18, 4), apply=lambda *args, **kwargs: (
      (jnp.broadcast_to(jnp.array([1.0, 2.0, 3.0]), (batch, 2, 2, 3)), None),
      {'batch_stats': {}}))
  terms, _ = classification.loss_terms(
      model, {}, {'image': np.zeros([batch, 8, 8, 3], np.uint8),
                  'scribble': scribble, 'scribbled_classes': in_image},
      None, enabled=('classification',))
  return float(terms['classification'])


def softplus(x):
  return np.log1p(np.exp(x))


def test_a_crop_without_a_class_of_its_image_says_nothing_of_it():
  # Class 1 has a stroke in the crop, class 2 only elsewhere in the image. The
  # second image has strokes on the background alone, outside the crop.
  scribble = np.full([2, 8, 8], 255, np.uint8)
  scribble[0, 2, 2:5] = 1
  in_image = np.zeros([2, 256], bool)
  in_image[0, [1, 2, 255]] = in_image[1, [0, 255]] = True
  expected = [softplus(-1), softplus(3),  # Of the first crop: 1 and 3.
              softplus(1), softplus(2), softplus(3)]
  assert classification_loss(scribble, in_image) == pytest.approx(
      np.mean(expected), rel=1e-6)


def test_nothing_is_known_of_an_image_without_a_stroke():
  scribble = np.full([2, 8, 8], 255, np.uint8)
  scribble[0, 2, 2:5] = 3
  in_image = np.zeros([2, 256], bool)
  in_image[:, 255] = in_image[0, 3] = True  # 255: pixels without a stroke.
  expected = np.mean([softplus(1), softplus(2), softplus(-3)])
  assert classification_loss(scribble, in_image) == pytest.approx(
      expected, rel=1e-6)
  assert classification_loss(scribble[1:], in_image[1:]) == 0


def test_activations_are_the_classifier_before_pooling():
  images = np.random.default_rng(0).normal(
      size=[2, SIZE, SIZE, 3]).astype(np.float32)
  model = network()
  variables = model.init(jax.random.key(0), images)
  activations, logits = model.apply(variables, images)
  assert logits is None
  _, features = resnet.ResNet(18, 4, output_stride=16).apply(
      {name: tree['backbone'] for name, tree in variables.items()}, images,
      train=False)
  kernel = np.float64(variables['params']['classifier']['kernel'][0, 0])
  np.testing.assert_allclose(
      activations, np.float64(features) @ kernel, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(
      np.mean(activations, (1, 2)),
      np.mean(np.float64(features), (1, 2)) @ kernel, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('output_stride, side', [(8, 9), (16, 5)])
def test_output_stride(output_stride, side):
  model = network(output_stride, 'deeplabv3plus')
  images = np.zeros([1, 65, 65, 3], np.float32)
  (activations, logits), _ = jax.eval_shape(
      lambda: model.init_with_output(jax.random.key(0), images))
  assert activations.shape == (1, side, side, CLASSES - 1)
  assert logits.shape == (1, 17, 17, CLASSES)


def test_class_activations_of_a_network_whose_answer_is_known():
  image = np.zeros([40, 60, 3], np.uint8)
  image[:, :30] = [255, 0, 0]
  image[:, 30:] = [0, 255, 0]
  model = types.SimpleNamespace(apply=red_minus_green)
  normalised = (image / 255 - IMAGENET_MEAN) / IMAGENET_STD
  difference = normalised[..., 0] - normalised[..., 1]
  run = lambda *scales: probabilities(
      _Hashable(model), {}, [image],
      windows.Protocol(48, scales, None, flip=True), batch_size=4,
      maps=classification.class_maps)[0]
  np.testing.assert_allclose(
      run(1.0), np.maximum(np.stack([difference, -difference], -1), 0),
      rtol=1e-4, atol=1e-4)

  # At other scales only the seam between the halves differs.
  maps = run(0.5, 1.0, 1.5, 2.0)
  np.testing.assert_allclose(
      maps[:, :27], np.stack([difference, 0 * difference], -1)[:, :27],
      rtol=1e-4, atol=1e-4)
  assert (maps[:, :30].argmax(-1) == 0).all()
  assert (maps[:, 30:].argmax(-1) == 1).all()


class _Hashable:
  """`make_predict` keeps compiled programs by model."""

  def __init__(self, model):
    self.apply, self.backbone = model.apply, resnet.ResNet(18, 4)
