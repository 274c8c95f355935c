r"""Makes pseudo-labels from images and scribbles: stage 1 of the method.

python -m scribble_jax.pseudo_labels --config=configs/pseudo_labels.py \
    --workdir=runs/pseudo_labels --config.data.root=VOC2012

Trains a classifier on the classes of the scribbles, writes one indexed PNG per
image to WORKDIR/pseudo_labels, and summary.json, panels.png and thresholds.png
to WORKDIR.
"""

from absl import flags

from scribble_jax import command_line
from scribble_jax import hosts


def main(argv):
  """Runs stage 1 and prints its table."""
  del argv
  # TensorFlow takes seconds to load; wrong flags are reported before.
  from scribble_jax.pseudo_labels import generation
  from scribble_jax.pseudo_labels import label_quality
  command_line.join_job()
  summary = generation.generate(
      _CONFIG.value, _WORKDIR.value, _OTHER_DATA.value)
  if hosts.is_first():
    print(label_quality.report(summary))
    print(f'{summary["num_images"]} pseudo-labels and pictures are in '
          f'{_WORKDIR.value}.')


if __name__ == '__main__':
  _CONFIG = command_line.define_config()
  command_line.define_job()
  _WORKDIR = flags.DEFINE_string(
      'workdir', None, 'Folder for the classifier and the pseudo-labels.',
      required=True)
  _OTHER_DATA = command_line.define_other_data()
  command_line.run(main, interrupted=(
      'Finished pseudo-labels are kept; the same command continues.'))
