"""The commands that are fuzzed: a data set with one mutated file each time.

What they write is there whole or not at all.
"""

import contextlib
import io
import shutil

from configs import demo
from scribble_jax.data import drawn_dataset
from scribble_jax.data import input_pipeline
from scribble_jax.data import records
from scribble_jax.errors import UserError
from scribble_jax.files import masks
from scribble_jax.scribbles import __main__ as scribbles
from scribble_jax.weights import pretrained
from scribble_jax.weights import trained
from scribble_jax.weights import weight_files
from tests import fuzzed
from tests import mutations

_SHARE = 0.02  # They are slow.


def _write_data(folder):
  """Writes a data set of 3 + 2 images; returns its files and its config."""
  root = folder / 'data'
  drawn_dataset.write_dataset(
      root, num_train=3, num_val=2, image_size=24, seed=0)
  config = demo.get_config().data
  config.update({'root': str(root), 'embedded': {}, 'pseudo_labels': 'none',
                 'records': str(folder / 'out/records')})
  files = [path for path in sorted(root.rglob('*'))
           if path.suffix in ('.jpg', '.png', '.txt')]
  return [(str(path.relative_to(folder)), path.read_bytes())
          for path in files], config


def _mutate(rng, content):
  """Mutates a picture or a list."""
  is_text = b'\0' not in content
  return (mutations.of_lines if is_text else mutations.of_picture)(rng, content)


@contextlib.contextmanager
def _whole_or_nothing(folder):
  """Checks that a refusal leaves no file, and deletes what was written."""
  try:
    yield
  except UserError:
    left = [path for path in folder.rglob('*')
            if path.is_file() and path.suffix != '.lock']
    assert not left, left
    raise
  finally:
    shutil.rmtree(folder, ignore_errors=True)


def make_records(folder):
  """Records of a data set."""
  files, config = _write_data(folder)

  def read(path):
    del path
    with _whole_or_nothing(folder / 'out'):
      dataset = records.prepare(config, False)
      for split in ('train', 'val'):
        examples = [*input_pipeline.whole_examples(dataset, split)]
        assert len(examples) == dataset.num_examples(split)

  return fuzzed.Reader(files, _mutate, read, share=_SHARE)


def scribble_commands(folder):
  """Commands that read and write scribbles."""
  files, config = _write_data(folder)
  root, out = folder / 'data', folder / 'out'
  commands = (
      ('shrink', root / 'scribbles', out / 'new', '--ratio=0.5',
       f'--list={root / config.train_list}'),
      ('simulate', root / 'SegmentationClassAug', out / 'new'),
      ('stats', root / 'scribbles', f'--masks={root}/SegmentationClassAug'),
      ('check', root))

  def read(path):
    del path
    problems = []
    for command in commands:
      try:
        with (_whole_or_nothing(out),
              contextlib.redirect_stdout(io.StringIO())):
          out.mkdir()
          options = scribbles.make_parser().parse_args(
              [*map(str, command), '--processes=1'])
          options.run(options)
          for written in (out / 'new').rglob('*.png'):
            masks.read_mask(written)
      except UserError as error:
        problems.append(error)
    if problems:
      raise problems[0]

  return fuzzed.Reader(files, _mutate, read, share=_SHARE)


def exports(folder):
  """Weights that are read and written again."""
  reader = fuzzed.networks(folder)
  _, _, config = fuzzed.tiny_network()

  def read(path):
    with _whole_or_nothing(folder / 'out'):
      _, variables, _ = trained.load(config, path)
      state_dict = pretrained.to_pytorch(variables)
      weight_files.write_state_dict(folder / 'out/b.safetensors', state_dict)
      again = weight_files.read_state_dict(folder / 'out/b.safetensors')
      assert again.keys() == state_dict.keys()

  return reader._replace(read=read, share=_SHARE)


READERS = {'records': make_records, 'scribble commands': scribble_commands,
           'exports': exports}
