"""The training step and its schedule as a PyTorch user would write them.

Everything runs in the dtype of the network's parameters. Batches are dicts of
NumPy uint8 arrays, already augmented and padded, so the switch for the fill of
the distance maps has no place here.
"""

import math

from tests.oracles import torch_losses
from tests.oracles import torch_protocol
from tests.peers import torch


def loss_terms(network, batch, method):
  """The five terms of the loss, each of weight 1.

  Args:
    network: module in train mode, [B, 3, H, W] -> (logits, features), with
      the LoRM module as `network.lorm`.
    batch: NumPy uint8: 'image' [B, H, W, 3] RGB; 'scribble', 'pseudo_label'
      [B, H, W] classes, 255 where there is none; 'scribble_distance',
      'pseudo_label_distance' [B, H, W], 255 for the full weight.
    method: 'pseudo_ignore', 'lorm_background', 'lorm_foreground' and
      'normaliser', each 'official' or 'corrected'.

  Returns:
    Dict of scalar tensors: 'scribble', 'pseudo_label', 'lorm',
    'distance_entropy_scribble', 'distance_entropy_pseudo_label'.

  Raises:
    ValueError: the network is in eval mode.
  """
  if not network.training:
    raise ValueError('the network is in eval mode: call network.train()')
  dtype = next(network.parameters()).dtype
  images = torch.tensor(batch['image']).to(dtype).permute(0, 3, 1, 2)
  scribble, pseudo_label = (
      torch.tensor(batch[name]).long() for name in ('scribble', 'pseudo_label'))
  logits, features = network(torch_protocol.normalise(images))
  terms = {
      'scribble': torch_losses.partial_cross_entropy(logits, scribble),
      'pseudo_label': torch_losses.smoothed_cross_entropy(
          logits, pseudo_label, smoothing=0.1,
          pseudo_ignore=method['pseudo_ignore']),
      'lorm': _lorm_term(network, features, pseudo_label, method),
  }
  for name in ('scribble', 'pseudo_label'):
    distance_map = torch.tensor(batch[f'{name}_distance']).to(dtype) / 255
    terms[f'distance_entropy_{name}'] = torch_losses.distance_entropy(
        logits, distance_map, method['normaliser'])
  return terms


def _lorm_term(network, features, pseudo_label, method):
  # Label 255 is background here whatever `pseudo_ignore` says: that switch
  # is about the cross-entropy alone.
  foreground = torch_losses.foreground_mask(
      pseudo_label, features.shape[2:], method['lorm_foreground'])
  return torch_losses.lorm_loss(
      features, network.lorm(features, foreground), foreground,
      background=method['lorm_background'], normaliser=method['normaliser'])


def learning_rate(step, *, num_steps, lr, warmup_steps):
  """Linear warm-up from 0, then cosine to 0.

  Args:
    step: updates completed before this one.
    num_steps: updates of the whole run, warm-up included; the rate there is 0.
    lr: the highest rate, reached at `warmup_steps`.
    warmup_steps: updates of the warm-up.

  Returns:
    The rate of the update that follows `step` completed ones.
  """
  if step < warmup_steps:
    return lr * step / warmup_steps
  progress = (step - warmup_steps) / max(1, num_steps - warmup_steps)
  return lr * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def train(network, batches, method, *, lr, warmup_steps, num_steps, momentum,
          weight_decay):
  """Runs one update of SGD per batch, changing the network in place.

  The caller sets the modes: `network.train()` here would switch a dropout
  layer back on.

  Args:
    network: as for `loss_terms`.
    batches: iterable of batches, as for `loss_terms`.
    method: as for `loss_terms`.
    lr: as for `learning_rate`.
    warmup_steps: as for `learning_rate`.
    num_steps: as for `learning_rate`; there may be fewer batches.
    momentum: of SGD, without dampening or Nesterov.
    weight_decay: added to the gradient of every parameter, BN and gamma too.

  Returns:
    One dict of floats per batch: its loss terms before the update.
  """
  optimizer = torch.optim.SGD(
      network.parameters(), lr=0.0, momentum=momentum,
      weight_decay=weight_decay)
  history = []
  for step, batch in enumerate(batches):
    for group in optimizer.param_groups:
      group['lr'] = learning_rate(
          step, num_steps=num_steps, lr=lr, warmup_steps=warmup_steps)
    optimizer.zero_grad()
    terms = loss_terms(network, batch, method)
    sum(terms.values()).backward()
    optimizer.step()
    history.append({name: term.item() for name, term in terms.items()})
  return history
