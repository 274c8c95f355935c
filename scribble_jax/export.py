r"""Writes a run's network as a file that PyTorch and this program read.

python -m scribble_jax.export --checkpoint=runs/scribblesup \
    --output=scribblesup.safetensors

Names and shapes are those of the authors' checkpoints (METHOD 4).
"""

from absl import flags

from scribble_jax import command_line
from scribble_jax import hosts
from scribble_jax.weights import pretrained
from scribble_jax.weights import trained
from scribble_jax.weights import weight_files


def main(argv):
  """Writes the checkpoint that the flags name."""
  del argv
  command_line.join_job()
  model, variables, step = trained.load(
      _CONFIG.value.model, _CHECKPOINT.value, _STEP.value)
  if not hosts.is_first():
    return
  weight_files.write_state_dict(
      _OUTPUT.value,
      pretrained.to_pytorch(variables, step or 0, model.backbone))
  print(f'{_OUTPUT.value} holds the network of {_CHECKPOINT.value}'
        + ('.' if step is None else f' after {step} updates.'))


if __name__ == '__main__':
  _CONFIG = command_line.define_config('checkpoint')
  command_line.define_job()
  _CHECKPOINT = command_line.define_checkpoint()
  _STEP = command_line.define_step()
  _OUTPUT = flags.DEFINE_string(
      'output', None, 'File to write, .safetensors or .pth (takes torch).',
      required=True)
  command_line.run(main, interrupted='Nothing was written.')
