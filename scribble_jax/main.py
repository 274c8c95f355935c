r"""Trains the network of a config, or resumes an interrupted run.

python -m scribble_jax.main --config=configs/scribblesup.py \
    --workdir=runs/scribblesup --config.data.root=VOC2012
"""

from absl import flags

from scribble_jax import command_line


def main(argv):
  """Trains with the settings of the flags."""
  del argv
  # Importing TensorFlow takes seconds; wrong flags are reported before it.
  from scribble_jax import train
  command_line.join_job()
  train.train(_CONFIG.value, _WORKDIR.value, _OTHER_DATA.value)


if __name__ == '__main__':
  _CONFIG = command_line.define_config()
  command_line.define_job()
  _WORKDIR = flags.DEFINE_string(
      'workdir', None, 'Folder for checkpoints, event files and results.',
      required=True)
  _OTHER_DATA = command_line.define_other_data()
  command_line.run(main, interrupted=(
      'The same command resumes from the last checkpoint.'))
