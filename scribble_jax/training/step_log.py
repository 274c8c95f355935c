"""Scalars of the train loop: fetched seldom, checked, written, shown."""

import datetime
import time

from absl import logging
import jax
import numpy as np
from tqdm import tqdm

from scribble_jax.errors import UserError

# Steps that the host may be ahead of the devices, which bounds the memory that
# waiting batches take.
_MAX_STEPS_AHEAD = 4


class StepLog:
  """Keeps the metrics of recent steps on the devices until `flush`."""

  def __init__(self, writer, *, start_step, num_steps, batch_size, title):
    """Starts the progress line.

    Args:
      writer: A clu metric writer.
      start_step: Completed updates so far.
      num_steps: Updates of the whole run.
      batch_size: Images an update.
      title: Of the progress line.
    """
    self._writer = writer
    self._batch_size = batch_size
    self._pending = []  # (step, metrics)
    self._progress = tqdm(initial=start_step, total=num_steps, unit='step',
                          desc=title, dynamic_ncols=True)
    self._clock = None  # When the counted updates began; None while paused.
    self._counted = 0  # Updates since then.
    self._total_seconds, self._total_images = 0.0, 0
    self._completions = []  # When updates were seen to be done.
    self._told_remaining = False

  def __enter__(self):
    return self

  def __exit__(self, *error):
    self._progress.close()

  def add(self, step, metrics):
    """Takes the metrics of an update without waiting for them."""
    self._pending.append((step, metrics))
    if len(self._pending) > _MAX_STEPS_AHEAD:
      jax.block_until_ready(self._pending[-_MAX_STEPS_AHEAD - 1][1])
      self._completions.append(time.monotonic())
    if self._clock is None:  # Neither compilation nor the pause counts.
      jax.block_until_ready(metrics)
      self._clock = time.monotonic()
    else:
      self._counted += 1

  def flush(self):
    """Waits for the pending updates, checks and writes their mean.

    Raises:
      UserError: A metric is not finite; names the step and the metric.
    """
    if not self._pending:
      return
    steps, metrics = zip(*jax.device_get(self._pending), strict=True)
    self._pending = []
    for step, values in zip(steps, metrics, strict=True):
      for name, value in values.items():
        if not np.isfinite(value):
          raise UserError(
              f'Step {step}: {name} is {value}. Checkpoints from before are '
              'intact: the same command with a lower --config.optim.lr goes on '
              'from the last one.')
    means = {name: float(np.mean([values[name] for values in metrics]))
             for name in metrics[-1]}
    means |= self._measure_speed()
    means |= self._measure_steps()
    self._tell_remaining(steps[-1], means)
    self._writer.write_scalars(steps[-1], means)
    self._progress.set_postfix_str(
        f'loss {means["loss/total"]:.3f}', refresh=False)
    self._progress.update(steps[-1] - self._progress.n)

  def _tell_remaining(self, step, means):
    """Says once how long the rest will take."""
    if self._told_remaining or 'images_per_second' not in means:
      return
    self._told_remaining = True
    left = self._progress.total - step
    if not left:
      return
    seconds = left * self._batch_size / means['images_per_second']
    logging.info(
        'At %.3g images/s the remaining %d steps take %s, and validation '
        'besides.', means['images_per_second'], left,
        datetime.timedelta(seconds=round(seconds)))

  def _measure_steps(self):
    """Returns percentiles of the time from update to update."""
    seconds, self._completions = np.diff(self._completions), []
    if not len(seconds):
      return {}
    return {f'step_seconds/{name}': float(np.percentile(seconds, share))
            for name, share in (('median', 50), ('p90', 90), ('highest', 100))}

  def _measure_speed(self):
    now = time.monotonic()
    seconds, images = now - self._clock, self._counted * self._batch_size
    self._clock, self._counted = now, 0
    self._total_seconds += seconds
    self._total_images += images
    return {'images_per_second': images / seconds} if images else {}

  def pause(self):
    """Leaves what comes before the next update out of the timing."""
    self._clock, self._counted = None, 0

  @property
  def images_per_second(self):
    """Mean over the flushed updates of this process; None without any."""
    if not self._total_images:
      return None
    return self._total_images / self._total_seconds
