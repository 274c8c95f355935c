"""What a network says of whole images, for tests that compare it."""

from scribble_jax import inference
from scribble_jax import sharding


def predicted(model, variables, images, protocol, devices=None, **options):
  """Returns (classes, probabilities) of each image.

  Args:
    model: Network, or None with `maps`.
    variables: Of the network.
    images: [[H, W, 3] uint8, ...].
    protocol: `windows.Protocol`.
    devices: All of the process unless given.
    **options: Of `inference.make_predict`.
  """
  predict = inference.make_predict(
      model, sharding.make_mesh(devices=devices), protocol,
      **{'finish': inference.both} | options)
  return [result for _, result in predict(
      variables, ((None, image, ()) for image in images))]


def probabilities(*args, **options):
  """Returns the probabilities of each image, as of `predicted`."""
  return predicted(*args, finish=inference.probabilities, **options)
