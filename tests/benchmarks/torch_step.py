"""The PyTorch peer of a train step, as its users write one."""

import functools

import torch
import torch.nn.functional as F

from tests.benchmarks import harness
from tests.oracles import torch_losses
from tests.oracles import torch_protocol


def make_step(network, batch, weights, device, sgd, autocast, tuned=False,
              normalise=torch_protocol.normalise):
  """Returns a function that does one update and returns the loss.

  Args:
    network: `torch_networks.DeepLab`.
    batch: As of `loss_terms.compute`.
    weights: State dict of the network.
    device: To work on.
    sgd: Keyword arguments of `torch.optim.SGD`.
    autocast: Whether to compute in bfloat16.
    tuned: Whether to take channels_last and torch.compile.
    normalise: What the network wants done to [B, 3, H, W], 0 to 255.
  """
  network.load_state_dict(weights)
  for module in network.modules():
    if isinstance(module, torch.nn.Dropout):
      module.p = 0.0
  network = network.to(device).train()
  if tuned:
    network = network.to(memory_format=torch.channels_last)
  optimizer = torch.optim.SGD(network.parameters(), **sgd)
  loss_of = functools.partial(loss, network)
  if tuned:
    loss_of = torch.compile(loss_of)
  batch = {name: torch.tensor(x, device=device) for name, x in batch.items()}

  def run():
    images = normalise(batch['image'].permute(0, 3, 1, 2).float())
    if tuned:
      images = images.contiguous(memory_format=torch.channels_last)
    optimizer.zero_grad()
    with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
      total = loss_of(images, batch)
    total.backward()
    optimizer.step()
    return total.detach()
  return harness.torch_blocking(run, device)


def loss(network, images, batch):
  """METHOD 1's sum as PyTorch users write it: one resize, one softmax."""
  logits, features = network(images)
  logits = torch_losses.resize(logits.float(), images.shape[2:])
  scribble, pseudo_label = (
      batch[name].long() for name in ('scribble', 'pseudo_label'))
  pseudo_label = torch.where(pseudo_label == 255, 0, pseudo_label)
  total = F.cross_entropy(logits, scribble, ignore_index=255)
  total = total + F.cross_entropy(
      logits, pseudo_label, ignore_index=255, label_smoothing=0.1)
  log_probs = torch.log_softmax(logits, dim=1)
  entropy = -(log_probs.exp() * log_probs).sum(dim=1)
  for name in ('scribble_distance', 'pseudo_label_distance'):
    weighted = batch[name].float() / 255 * entropy
    total = total + weighted.sum() / (weighted != 0).sum().clamp(min=1)
  foreground = torch_losses.resize(
      pseudo_label[:, None].float(), features.shape[2:])[:, 0] > 0
  rectified = network.lorm(features, foreground)
  squares = (features.float() - rectified.float()).square()
  return total + squares.sum() / (squares != 0).sum().clamp(min=1)
