"""Logging of the train loop's metrics: fetched rarely, checked and written."""

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
# A run is input-bound if the devices wait for input for more than this share of
# the time; judged after so many seconds of updates.
_INPUT_BOUND_SHARE, _JUDGED_AFTER = 0.1, 30
# A term of the loss is dominant if it exceeds all others so many times.
_DOMINANT = 10


class StepLog:
  """Logs the metrics of training steps, and shows the progress.

  The metrics of recent steps stay on the devices until `flush`.
  """

  def __init__(self, writer, *, start_step, num_steps, batch_size, loss_weights,
               title):
    """Starts the progress line.

    Args:
      writer: A clu metric writer.
      start_step: Completed updates so far.
      num_steps: Updates of the whole run.
      batch_size: Images per update.
      loss_weights: {name: weight} of the loss's terms.
      title: Title of the progress line.
    """
    self._writer = writer
    self._batch_size = batch_size
    self._loss_weights = loss_weights
    # (step, metrics, wait for its batch, future of its completion time)
    self._pending = []
    self._progress = tqdm(initial=start_step, total=num_steps, unit='step',
                          desc=title, dynamic_ncols=True)
    self._clock = None  # When the counted updates began; None while paused.
    self._counted = 0  # Updates since then.
    self._total_seconds, self._total_images = 0.0, 0
    self._total_waited = 0.0  # Seconds; see `idle_seconds`.
    self._compares_terms = start_step == 0  # At the first flush of a run.
    self._told_input_bound = False

  def __enter__(self):
    return self

  def __exit__(self, *error):
    self._progress.close()

  def add(self, step, metrics, wait):
    """Adds the metrics of an update without waiting for them.

    Args:
      step: Number of completed updates, this one included.
      metrics: {name: scalar} on the devices.
      wait: (begin, end) of the wait for its batch, in `time.monotonic()`'s
        seconds.
    """
    self._pending.append((step, metrics, wait, _when_done(metrics)))
    if len(self._pending) > _MAX_STEPS_AHEAD:
      self._pending[-_MAX_STEPS_AHEAD - 1][-1].result()
    if self._clock is None:  # The compilation or pause is not timed.
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
    step = steps[-1]
    means = {name: float(np.mean([values[name] for values in metrics]))
             for name in metrics[-1]}
    if self._compares_terms:
      self._warn_of_dominant_term(step, means)
      self._compares_terms = False
    first = not self._total_images
    means |= self._measure_speed(idle_seconds(self._clock, waits, completions))
    means |= _measure_steps(completions)
    if first and self._total_images:
      self._log_remaining_time(step, means['images_per_second'])
    if not self._told_input_bound:
      self._warn_if_input_bound()
    self._writer.write_scalars(step, means)
    self._progress.set_postfix_str(
        f'loss {means["loss/total"]:.3f}', refresh=False)
    self._progress.update(step - self._progress.n)

  def _warn_of_dominant_term(self, step, means):
    """Warns if one term of the loss is much larger than all others."""
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

  def _log_remaining_time(self, step, images_per_second):
    left = self._progress.total - step
    if left:
      seconds = left * self._batch_size / images_per_second
      logging.info(
          'At %.3g images/s the remaining %d steps take %s, and validation '
          'besides.', images_per_second, left,
          datetime.timedelta(seconds=round(seconds)))

  def _warn_if_input_bound(self):
    """Warns if the devices often wait for input."""
    if self._total_seconds < _JUDGED_AFTER:
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
    """Returns scalars about the time since the last flush.

    Args:
      waited: Seconds of it during which the devices waited for input.
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
    """Excludes the time until the next update from the timing."""
    self._clock, self._counted = None, 0

  @property
  def images_per_second(self):
    """The mean over the flushed updates of this process; None without any."""
    if not self._total_images:
      return None
    return self._total_images / self._total_seconds


def _when_done(metrics):
  """Returns a future of the time at which arrays are computed.

  A thread waits for them, because the train loop meanwhile waits for the next
  batch. The time shows how long the devices were idle.
  """
  done = concurrent.futures.Future()

  def wait():
    try:
      jax.block_until_ready(metrics)
      done.set_result(time.monotonic())
    except Exception as error:  # Raised where the result is asked for.
      done.set_exception(error)

  # A daemon: if the job's other processes are gone, it waits forever.
  threading.Thread(target=wait, daemon=True).start()
  return done


def idle_seconds(start, waits, completions):
  """Returns how long the devices were idle because a batch was missing.

  During most of the wait for a batch the devices are busy with earlier updates.

  Args:
    start: Time before which nothing is counted, in seconds of a clock.
    waits: (begin, end) of the wait for each update's batch, likewise.
    completions: When each update was done, likewise.
  """
  free = [start, *completions[:-1]]  # When the update before was done.
  return sum(max(0.0, end - max(start, begin, before))
             for (begin, end), before in zip(waits, free, strict=True))


def _measure_steps(completions):
  """Returns percentiles of the time between updates."""
  seconds = np.diff(completions)
  if not len(seconds):
    return {}
  return {f'step_seconds/{name}': float(np.percentile(seconds, share))
          for name, share in (('median', 50), ('p90', 90), ('highest', 100))}
