r"""Simulates, converts, degrades, measures and checks scribbles.

python -m scribble_jax.scribbles simulate VOC2012/SegmentationClassAug strokes
python -m scribble_jax.scribbles stats VOC2012/scribbles
python -m scribble_jax.scribbles check DIR

--help behind a command describes its options. The output for an image depends
only on the image, its id and --seed.
"""

import argparse

from scribble_jax import command_line
from scribble_jax.files import image_decoding
from scribble_jax.labels import IGNORE_LABEL
from scribble_jax.scribbles import checks
from scribble_jax.scribbles import commands
from scribble_jax.weak_labels import annotations
from scribble_jax.weak_labels import simulation


def _number(convert, low, high, rule):
  """Returns an argparse type for numbers from `low` to `high`."""
  def parse(text):
    """Returns the number, or raises the error that argparse shows."""
    try:
      value = convert(text)
    except ValueError:
      value = None
    if value is None or not low <= value <= high:
      raise argparse.ArgumentTypeError(f'{text!r} is not {rule}')
    return value
  return parse


def _range(text):
  """Returns (low, high), or raises the error that argparse shows."""
  try:
    low, high = map(float, text.strip('()').split(','))
  except ValueError:
    low, high = 0, 0
  if not low < high:
    raise argparse.ArgumentTypeError(
        f'{text!r} is not two numbers, the smaller first, such as 0,4095')
  return low, high


_positive = _number(int, 1, 2**31, 'a number of at least 1')
_natural = _number(int, 0, 2**63, 'a number of at least 0')
_share = _number(float, 0, 1, 'a number from 0 to 1')


def _argument(metavar, text, kind=None, default=None, **settings):
  """Returns the settings of an argument with a value, for argparse."""
  shown = '' if default is None else ' (default %(default)s).'
  return settings | {'metavar': metavar, 'help': text + shown, 'type': kind,
                     'default': default}


# Arguments that commands have in common: {name: settings for argparse}.
_ALL = {
    '--processes': _argument(
        'N', 'Number of worker processes; all cores by default.', _positive),
    '--max_megapixels': _argument(
        'N', 'Larger pictures are refused', _positive,
        int(image_decoding.MAX_MEGAPIXELS)),
}
_LIST = {'--list': _argument(
    'FILE', 'Read only the ids that are listed in FILE, one a line.')}
_CLASSES = {'--classes': _argument(
    'FILE|voc', "Class names, one a line, background first; PASCAL VOC's by "
    'default.')}
_OUTPUT = _LIST | {
    'output': _argument(
        'OUTPUT', 'Folder to make; it is written completely or not at all.'),
    '--seed': _argument('N', 'Another seed draws other strokes', _natural, 0),
    '--overwrite': {'action': 'store_true',
                    'help': 'Replace an earlier output of this program.'},
}
_LABELS = {
    '--unlabelled_index': _argument(
        'N', 'As config.data.unlabelled_index: value of masks that means '
        'unlabelled', default=IGNORE_LABEL),
    '--label_map': {
        'metavar': 'VALUE:CLASS,...', 'default': '',
        'help': 'As config.data.label_map: meanings of other values of masks.'},
}
_SCRIBBLES = _LABELS | _CLASSES | {
    'scribbles': _argument(
        'SCRIBBLES', 'Folder of PNG or TIFF masks or of XML, zip of XML, or '
        'JSON of points or boxes.'),
    '--images': _argument(
        'DIR', 'Folder of the photographs; required for points and boxes as '
        'JSON.'),
}


def make_parser():
  """Returns the argparse parser of all commands."""
  parser = command_line.ArgumentParser(
      prog='python -m scribble_jax.scribbles', description=__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter)
  subparsers = parser.add_subparsers(
      dest='command', metavar='COMMAND', required=True)
  _add_conversions(subparsers)
  _add_simulate(subparsers)
  _add_deformations(subparsers)
  _add_command(
      subparsers, 'stats', commands.stats,
      "Prints statistics of scribbles beside those of ScribbleSup's on VOC.",
      'VOC2012/scribbles --masks=VOC2012/SegmentationClassAug', '',
      _SCRIBBLES | _LIST | {
          '--masks': _argument('DIR', 'Folder of dense masks to compare with.'),
          '--csv': _argument(
              'FILE', 'Write the statistics of each image, one a line.')})
  _add_check(subparsers)
  return parser


def _add_command(subparsers, name, run, summary, example, details, arguments,
                 **defaults):
  """Adds one command; --help shows summary, example, details and arguments."""
  example = f'python -m scribble_jax.scribbles {name} {example}'
  parser = subparsers.add_parser(
      name, help=summary,
      description=f'{summary}\n\n{example}\n\n{details}'.strip(),
      formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.set_defaults(run=run, **defaults)
  for argument, settings in (arguments | _ALL).items():
    parser.add_argument(argument, **settings)


def _add_conversions(subparsers):
  """Adds from-xml, from-points and from-boxes."""
  arguments = _CLASSES | {
      'scribbles': _argument('INPUT', 'Folder, zip or JSON file.'),
      **_OUTPUT,
      '--images': _argument(
          'DIR', 'Folder of the photographs, for their sizes.', required=True)}
  for name, kinds, summary, source, details in (
      ('from-xml', (annotations.XML,),
       "Draws ScribbleSup's strokes or VOC's boxes, a folder or zip of XML.",
       'scribble_annotation.zip',
       'A file with <polygon>s has strokes, which are drawn 3 pixels wide. A '
       'file with\n<object>s has boxes; see from-boxes.'),
      ('from-points', (annotations.POINTS,),
       'Draws points as dots of 3x3 pixels.', 'points.json',
       'The JSON file has {"ID": [{"x": 12, "y": 34, "cls": 1}, ...], ...}:\n'
       'pixels counted from 0, and a class by index or name.'),
      ('from-boxes', (annotations.BOXES, annotations.XML),
       'Draws a stroke across each box, and others outside of all boxes.',
       'boxes.json',
       'The JSON file has {"ID": [{"xmin": 1, "ymin": 2, "xmax": 30, "ymax": '
       '40,\n"cls": "cat"}, ...], ...}: first and last pixels, counted from 0, '
       'and a class by\nindex or name. XML files are VOC\'s, which count from '
       '1. A stroke runs along the\nlonger side; smaller boxes are drawn over '
       'larger ones. An image\nwithout boxes stays unlabelled.')):
    _add_command(
        subparsers, name, commands.rewrite, summary,
        f'{source} strokes --images=VOC2012/JPEGImages', details, arguments,
        kinds=kinds, ratio=0.0, label_map='', unlabelled_index=IGNORE_LABEL)


def _add_simulate(subparsers):
  """Adds simulate."""
  arguments = {
      'masks': _argument(
          'MASKS', 'Folder of PNG or TIFF masks; 255 means no class.'),
      **_OUTPUT, **_LABELS,
      '--images': _argument('DIR', 'Folder of the photographs.'),
      '--style': {
          'choices': simulation.STYLES, 'default': simulation.MEDIAL,
          'help': 'Along the middle (default), freely curved, along the '
                  'border, one dot, or a random one of these for each stroke.'},
      '--width': _argument(
          'PIXELS', 'Width of a stroke', _positive, simulation.WIDTH),
      '--coverage': _argument(
          'SHARE', "Mean length of a stroke as a share of its region's middle "
          'line', _share, simulation.COVERAGE),
      '--max_parts': _argument(
          'N', 'Maximum number of strokes for each foreground class', _positive,
          simulation.MAX_PARTS),
      '--background_strokes': _argument(
          'N', 'Maximum number of background strokes, or 0', _natural,
          simulation.MAX_BACKGROUND_STROKES, dest='max_background_strokes'),
      '--background_probability': _argument(
          'P', 'Probability that an image has background strokes', _share, 1.0),
      '--rounds': _argument(
          'N', 'Draw all strokes N times, into OUTPUT/round_0, ...', _positive,
          1),
      '--panels': _argument(
          'N', 'Number of pictures in OUTPUT/panels, which need --images',
          _natural, 0),
      '--classes': _argument(
          'FILE|voc', 'Class names for the panels, one a line, background '
          'first; numbers by default.')}
  _add_command(
      subparsers, 'simulate', commands.simulate,
      'Draws strokes as a person might, on dense masks.',
      'VOC2012/SegmentationClassAug strokes',
      'Strokes never leave their region. Prints what `stats` prints.',
      arguments)


def _add_deformations(subparsers):
  """Adds shrink and drop."""
  for name, summary, ratio in (
      ('shrink', 'Shortens each stroke.',
       'Share of its length that each stroke loses; 1 leaves a spot.'),
      ('drop', "Removes strokes, but never an image's last one.",
       'Probability that a stroke is removed.')):
    _add_command(
        subparsers, name, commands.rewrite, summary,
        f'VOC2012/scribbles strokes_{name} --ratio=0.5',
        'Accepts whatever training reads and writes PNG masks. Points and '
        'boxes are drawn\nas training draws them, whatever the --seed.',
        _SCRIBBLES | _OUTPUT | {
            '--seed': _argument(
                'N', 'As config.data.scribble_seed: another seed chooses other '
                'strokes and places', _natural, 0),
            '--ratio': _argument('R', ratio, _share, required=True)},
        kinds=None)


def _add_check(subparsers):
  """Adds check."""
  arguments = {
      'root': _argument('ROOT', 'As config.data.root.'),
      **{f'--{key}': _argument(
          'PATH|none' if key in checks.OPTIONAL else 'PATH',
          f'As config.data.{key}, with the same default.')
         for key in checks.OPTIONS},
      '--classes': _argument(
          'FILE|voc', 'Class names, one a line, below ROOT or absolute; '
          'classes.txt by default.'),
      '--crop_size': _argument(
          'PIXELS', 'As config.data.crop_size.', _positive),
      '--image_range': _argument(
          'LOW,HIGH', 'As config.data.image_range.', _range)}
  _add_command(
      subparsers, 'check', checks.check,
      'Lists what is wrong with a data set before it is used for training.',
      'DIR',
      'Reads every file as training does. Prints OK and exits with 0, or lists '
      'all\nproblems and exits with 1. Remarks that are no problems follow.',
      arguments | _LABELS)


if __name__ == '__main__':
  command_line.end_on_sigterm()
  command_line.run(lambda options: options.run(options), parser=make_parser(),
                   interrupted='Nothing was written.')
