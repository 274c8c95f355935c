"""Logs the cost of a training step, and records traces of some steps."""

from absl import logging
import jax


class Trace:
  """Records what the devices do during some of the steps."""

  def __init__(self, steps, workdir):
    """Args: a range, and the folder below which the trace is written."""
    self._range = steps
    self._folder = workdir / 'profile'
    self._recorded = None  # Steps; None while no trace is running.
    self._outputs = None  # Of the last recorded step.

  def before(self, step):
    """Starts the trace before its first step."""
    if self._recorded is None and step in self._range:
      jax.profiler.start_trace(str(self._folder))
      self._recorded = []

  def after(self, step, outputs):
    """Stops the trace after its last step.

    Args:
      step: The step that was just started on the devices.
      outputs: Arrays of it that are not donated to a later step.
    """
    if self._recorded is not None:
      self._recorded.append(step)
      self._outputs = outputs
      if step + 1 not in self._range:
        self.close()

  def close(self):
    """Waits for the devices and writes the trace, if one is running."""
    if self._recorded is None:
      return
    jax.block_until_ready(self._outputs)
    jax.profiler.stop_trace()
    if self._recorded:  # Otherwise the first step has failed.
      logging.info('The trace of steps %d to %d is in %s: tensorboard --logdir '
                   'shows it.', self._recorded[0], self._recorded[-1],
                   self._folder)
    self._recorded = None


def log_cost(compiled, mesh, batch_size):
  """Logs a step's devices, memory and operations, where they are known.

  Args:
    compiled: The compiled step.
    mesh: Mesh that it is compiled for.
    batch_size: Number of images of the global batch.
  """
  devices = mesh.devices.flat
  parts = [f'{mesh.size} x {devices[0].device_kind} of {jax.process_count()} '
           f'host(s), mesh {dict(mesh.shape)}']
  memory = compiled.memory_analysis()
  if memory is not None:
    parts.append(
        f'{memory.temp_size_in_bytes / 1e9:.2f} GB of memory a device for a '
        f'step, {memory.argument_size_in_bytes / 1e9:.2f} GB for the state and '
        'the batch')
  limit = (devices[0].memory_stats() or {}).get('bytes_limit')
  if limit:
    parts.append(f'{limit / 1e9:.1f} GB there')
  # The compiler counts the operations of one device, and those of a loop once.
  operations = (compiled.cost_analysis() or {}).get('flops', 0) * mesh.size
  if operations > 0:
    parts.append(f'{operations / batch_size / 1e9:.2f} GFLOP an image, LoRM\'s '
                 'loop apart')
  logging.info('Training on %s.', '; '.join(parts))
