"""Scalars of the train loop: fetched seldom, checked, written, shown."""

import concurrent.futures
import datetime
import threading
import time

from absl import logging
import jax
import numpy as np
from tqdm import tqdm

from scribble_jax.errors import UserError

# Steps that the host may be ahead of the devices, which bounds the memory that
# waiting batches take.
_MAX_STEPS_AHEAD = 4
# When to call a run input-bound: the share of its time, and the seconds of
# updates after which this is judged.
_INPUT_BOUND_SHARE, _JUDGED_AFTER = 0.1, 30
# How many times a term of the loss must exceed all others to be worth a word.
_DOMINANT = 10


class StepLog:
  """Keeps the metrics of recent steps on the devices until `flush`."""

  def __init__(self, writer, *, start_step, num_steps, batch_size, loss_weights,
               title):
    """Starts the progress line.

    Args:
      writer: A clu metric writer.
      start_step: Completed updates so far.
      num_steps: Updates of the whole run.
      batch_size: Images an update.
      loss_weights: {name: weight} of the loss's terms.
      title: Of the progress line.
    """
    self._writer = writer
    self._batch_size = batch_size
    self._loss_weights = loss_weights
    # (step, metrics, wait for its batch, future of when it was done)
    self._pending = []
    self._progress = tqdm(initial=start_step, total=num_steps, unit='step',
                          desc=title, dynamic_ncols=True)
    self._clock = None  # When the counted updates began; None while paused.
    self._counted = 0  # Updates since then.
    self._total_seconds, self._total_images = 0.0, 0
    self._total_waited = 0.0  # Seconds; see `idle_seconds`.
    self._told_remaining = self._told_input_bound = False
    self._told_dominant = start_step > 0  # Only the first steps are judged.

  def __enter__(self):
    return self

  def __exit__(self, *error):
    self._progress.close()

  def add(self, step, metrics, wait):
    """Takes the metrics of an update without waiting for them.

    Args:
      step: Completed updates with this one.
      metrics: {name: scalar} on the devices.
      wait: (begin, end) of the wait for its batch, of `time.monotonic()`.
    """
    self._pending.append((step, metrics, wait, _when_done(metrics)))
    if len(self._pending) > _MAX_STEPS_AHEAD:
      self._pending[-_MAX_STEPS_AHEAD - 1][-1].result()
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
    steps, metrics, waits, done = zip(*self._pending, strict=True)
    metrics = jax.device_get(metrics)
    completions = [future.result() for future in done]
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
    means |= self._measure_speed(idle_seconds(self._clock, waits, completions))
    means |= _measure_steps(completions)
    self._tell_dominant(steps[-1], means)
    self._tell_remaining(steps[-1], means)
    self._tell_input_bound()
    self._writer.write_scalars(steps[-1], means)
    self._progress.set_postfix_str(
        f'loss {means["loss/total"]:.3f}', refresh=False)
    self._progress.update(steps[-1] - self._progress.n)

  def _tell_dominant(self, step, means):
    """Warns if one term of the loss leaves the others little say at first."""
    if self._told_dominant:
      return
    self._told_dominant = True
    terms = sorted((weight * means[f'loss/{name}'], name)
                   for name, weight in self._loss_weights.items())
    if len(terms) < 2 or terms[-1][0] < _DOMINANT * terms[-2][0]:
      return
    (second, _), (highest, name) = terms[-2:]
    logging.warning(
        "Up to step %d the loss's term %s is %.3g on average, all others at "
        "most %.3g, weights included: it decides what is learned. Lower "
        "loss_weights.%s in this stage's config unless that is meant.",
        step, name, highest, second, name)

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

  def _tell_input_bound(self):
    """Warns once if the devices often have nothing to do for want of input."""
    if self._told_input_bound or self._total_seconds < _JUDGED_AFTER:
      return
    share = self._total_waited / self._total_seconds
    if share <= _INPUT_BOUND_SHARE:
      return
    self._told_input_bound = True
    logging.warning(
        'Input-bound: %.0f %% of the step. For that long the devices wait for '
        "batches, which this host's cores read, decode and augment. Use a host "
        'with more cores, or more hosts; scale large photographs down before; '
        "or lower data.augmentation.blur_probability in this stage's config. "
        'input_wait_share in TensorBoard shows what helps.', 100 * share)

  def _measure_speed(self, waited):
    """Returns scalars of the time since the last flush.

    Args:
      waited: Seconds of it that the devices waited for input.
    """
    now = time.monotonic()
    seconds, images = now - self._clock, self._counted * self._batch_size
    self._clock, self._counted = now, 0
    self._total_seconds += seconds
    self._total_images += images
    self._total_waited += waited
    return {'images_per_second': images / seconds,
            'input_wait_share': waited / seconds} if images else {}

  def pause(self):
    """Leaves what comes before the next update out of the timing."""
    self._clock, self._counted = None, 0

  @property
  def images_per_second(self):
    """Mean over the flushed updates of this process; None without any."""
    if not self._total_images:
      return None
    return self._total_images / self._total_seconds


def _when_done(metrics):
  """Returns a future of the time at which arrays are there.

  A thread of its own waits for them: the train loop is then waiting for the
  next batch, and how long the devices had nothing to do shows which it is.
  """
  done = concurrent.futures.Future()

  def wait():
    try:
      jax.block_until_ready(metrics)
      done.set_result(time.monotonic())
    except Exception as error:  # Raised where the result is asked for.
      done.set_exception(error)

  # A daemon, as a job whose other processes are gone waits for ever.
  threading.Thread(target=wait, daemon=True).start()
  return done


def idle_seconds(start, waits, completions):
  """Returns how long the devices were idle because a batch was not there.

  Most of the wait for a batch is no loss: the devices are busy with earlier
  updates meanwhile.

  Args:
    start: What was before does not count; seconds of a clock.
    waits: (begin, end) of the wait for each update's batch, likewise.
    completions: When each update was done, likewise.
  """
  free = [start, *completions[:-1]]  # Of the updates before.
  return sum(max(0.0, end - max(start, begin, before))
             for (begin, end), before in zip(waits, free, strict=True))


def _measure_steps(completions):
  """Returns percentiles of the time from update to update."""
  seconds = np.diff(completions)
  if not len(seconds):
    return {}
  return {f'step_seconds/{name}': float(np.percentile(seconds, share))
          for name, share in (('median', 50), ('p90', 90), ('highest', 100))}
