"""What a step costs, and traces of some of them."""

from absl import logging
import jax


class Trace:
  """Records what the devices do in some of the steps."""

  def __init__(self, steps, workdir):
    """Args: A range, and the folder below which the trace is written."""
    self._range = steps
    self._folder = workdir / 'profile'
    self._running = False

  def at(self, step):
    """Starts or stops before the step, if it is time to."""
    if not self._running and step in self._range:
      jax.profiler.start_trace(str(self._folder))
    elif self._running and step not in self._range:
      self.close()
    self._running = step in self._range

  def close(self):
    """Writes what was recorded, if anything."""
    if self._running:
      jax.profiler.stop_trace()
      logging.warning('The trace of steps %d to %d is in %s: tensorboard '
                      '--logdir shows it.', self._range[0], self._range[-1],
                      self._folder)
    self._running = False


def say_price(compiled, mesh, batch_size):
  """Logs what a step runs on and what it takes, as far as the backend knows.

  Args:
    compiled: The step.
    mesh: That it is compiled for.
    batch_size: Global.
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
  # The compiler counts a device's share; loops as if they ran once.
  operations = (compiled.cost_analysis() or {}).get('flops', 0) * mesh.size
  if operations > 0:
    parts.append(f'{operations / batch_size / 1e9:.2f} GFLOP an image, LoRM\'s '
                 'loop apart')
  logging.warning('Training on %s.', '; '.join(parts))
