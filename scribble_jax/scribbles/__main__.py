r"""Makes, reads, spoils, measures and checks scribbles.

python -m scribble_jax.scribbles simulate VOC2012/SegmentationClassAug strokes
python -m scribble_jax.scribbles stats VOC2012/scribbles
python -m scribble_jax.scribbles check DIR

Each command's --help says more. Every image's output depends on the image, its
id and --seed alone.
"""

import argparse

from scribble_jax import command_line
from scribble_jax.files import image_decoding
from scribble_jax.labels import IGNORE_LABEL
from scribble_jax.scribbles import checks
from scribble_jax.scribbles import commands
from scribble_jax.weak_labels import annotations
from scribble_jax.weak_labels import simulation

_SCRIBBLES = ('Folder of PNG or TIFF masks or of XML, zip of XML, or JSON of '
              'points or boxes.')


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
  _add_stats(subparsers)
  _add_check(subparsers)
  return parser


def _add_command(subparsers, name, run, summary, example, details=''):
  """Adds one command; --help shows summary, example, details and options."""
  example = f'python -m scribble_jax.scribbles {name} {example}'
  parser = subparsers.add_parser(
      name, help=summary,
      description=f'{summary}\n\n{example}\n\n{details}'.strip(),
      formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.set_defaults(run=run)
  parser.add_argument('--processes', type=_positive, metavar='N',
                      help='How many work at a time; all cores by default.')
  parser.add_argument('--max_megapixels', type=_positive, metavar='N',
                      default=int(image_decoding.MAX_MEGAPIXELS),
                      help='Larger pictures are refused (default %(default)s).')
  return parser


def _add_output(parser, seed='Another one draws other strokes'):
  """Adds what commands that write a folder share."""
  parser.add_argument('output', metavar='OUTPUT',
                      help='Folder to make, whole or not at all.')
  parser.add_argument('--list', metavar='FILE',
                      help='Only the ids that it lists, one a line.')
  parser.add_argument('--seed', type=_natural, default=0, metavar='N',
                      help=f'{seed} (default %(default)s).')
  parser.add_argument('--overwrite', action='store_true',
                      help='Replace an earlier output of this program.')


def _add_classes(parser, default="PASCAL VOC's"):
  parser.add_argument(
      '--classes', metavar='FILE|voc', help='Class names, one a line, '
      f'background first; {default} by default.')


def _add_labels(parser):
  """Adds what the values of PNG masks mean."""
  parser.add_argument(
      '--unlabelled_index', metavar='N', default=IGNORE_LABEL,
      help='As config.data.unlabelled_index: the value of masks that means '
      'unlabelled.')
  parser.add_argument(
      '--label_map', metavar='VALUE:CLASS,...', default='',
      help='As config.data.label_map: what other values of masks mean.')


def _add_conversions(subparsers):
  """Adds from-xml, from-points and from-boxes."""
  for name, kinds, summary, source, details in (
      ('from-xml', (annotations.XML,),
       "Draws ScribbleSup's strokes or VOC's boxes, a folder or zip of XML.",
       'scribble_annotation.zip',
       'A file with <polygon>s holds strokes, drawn 3 pixels wide; one with '
       '<object>s holds\nboxes, see from-boxes.'),
      ('from-points', (annotations.POINTS,),
       'Draws points as dots of 3x3 pixels.', 'points.json',
       'The JSON file holds {"ID": [{"x": 12, "y": 34, "cls": 1}, ...], ...}:\n'
       'pixels counted from 0, and a class by index or name.'),
      ('from-boxes', (annotations.BOXES, annotations.XML),
       'Draws a stroke across each box, and others outside of all boxes.',
       'boxes.json',
       'The JSON file holds {"ID": [{"xmin": 1, "ymin": 2, "xmax": 30, "ymax": '
       '40,\n"cls": "cat"}, ...], ...}: first and last pixels, counted from 0, '
       'and a class by\nindex or name. XML files are VOC\'s, which count from '
       '1. A stroke runs along the\nlonger side; smaller boxes are drawn over '
       'larger ones. An image\nwithout boxes stays unlabelled.')):
    parser = _add_command(
        subparsers, name, commands.rewrite, summary,
        f'{source} strokes --images=VOC2012/JPEGImages', details)
    parser.add_argument('scribbles', metavar='INPUT',
                        help='Folder, zip or JSON file.')
    _add_output(parser)
    parser.add_argument('--images', metavar='DIR', required=True,
                        help='Folder of the photographs, for their sizes.')
    _add_classes(parser)
    parser.set_defaults(kinds=kinds, ratio=0.0, label_map='',
                        unlabelled_index=IGNORE_LABEL)


def _add_simulate(subparsers):
  """Adds simulate."""
  parser = _add_command(
      subparsers, 'simulate', commands.simulate,
      'Draws strokes as a person might, on dense masks.',
      'VOC2012/SegmentationClassAug strokes',
      'Strokes never leave their region. Prints what `stats` prints.')
  parser.add_argument('masks', metavar='MASKS',
                      help='Folder of PNG or TIFF masks, 255 for no class.')
  _add_output(parser)
  _add_labels(parser)
  add = parser.add_argument
  add('--style', choices=simulation.STYLES, default=simulation.MEDIAL,
      help='Along the middle (default), freely curved, along the border, one '
      'dot, or a random one of these for each stroke.')
  add('--width', type=_positive, default=simulation.WIDTH, metavar='PIXELS',
      help='Of a stroke (default %(default)s).')
  add('--coverage', type=_share, default=simulation.COVERAGE, metavar='SHARE',
      help="Of a region's middle line, how long a stroke is on average "
      '(default %(default)s).')
  add('--max_parts', type=_positive, default=simulation.MAX_PARTS, metavar='N',
      help='Strokes a foreground class at most (default %(default)s).')
  add('--background_strokes', type=_natural, metavar='N',
      default=simulation.MAX_BACKGROUND_STROKES,
      help='At most (default %(default)s); 0 for none.')
  add('--background_probability', type=_share, default=1.0, metavar='P',
      help='Of an image to have background strokes (default %(default)s).')
  add('--rounds', type=_positive, default=1, metavar='N',
      help='Draw all anew so often, into OUTPUT/round_0, ...')
  add('--panels', type=_natural, default=0, metavar='N',
      help='Pictures to look at, in OUTPUT/panels; needs --images.')
  add('--images', metavar='DIR', help='Folder of the photographs.')
  _add_classes(parser, 'for the panels alone, numbers')


def _add_deformations(subparsers):
  """Adds shrink and drop."""
  for name, summary, ratio in (
      ('shrink', 'Shortens each stroke.',
       'Share of its length that each stroke loses; 1 leaves a spot.'),
      ('drop', "Removes strokes, but never an image's last one.",
       'Probability of each stroke to go.')):
    parser = _add_command(
        subparsers, name, commands.rewrite, summary,
        f'VOC2012/scribbles strokes_{name} --ratio=0.5',
        'Accepts whatever training reads and writes PNG masks. Points and '
        'boxes are drawn\nas training draws them, whatever the --seed.')
    parser.add_argument('scribbles', metavar='SCRIBBLES', help=_SCRIBBLES)
    _add_output(parser, 'As config.data.scribble_seed: another one chooses '
                'other strokes and places')
    parser.add_argument('--ratio', type=_share, required=True, metavar='R',
                        help=ratio)
    _add_sizes(parser)
    _add_labels(parser)
    parser.set_defaults(kinds=None)


def _add_sizes(parser):
  """Adds what scribbles other than masks need."""
  parser.add_argument('--images', metavar='DIR', help='Folder of the '
                      'photographs; points and boxes as JSON need it.')
  _add_classes(parser)


def _add_stats(subparsers):
  """Adds stats."""
  parser = _add_command(
      subparsers, 'stats', commands.stats,
      "Prints figures of scribbles beside those of ScribbleSup's on VOC.",
      'VOC2012/scribbles --masks=VOC2012/SegmentationClassAug')
  parser.add_argument('scribbles', metavar='SCRIBBLES', help=_SCRIBBLES)
  parser.add_argument('--masks', metavar='DIR',
                      help='Folder of dense masks to compare with.')
  parser.add_argument('--list', metavar='FILE',
                      help='Only the ids that it lists, one a line.')
  parser.add_argument('--csv', metavar='FILE',
                      help="Write each image's figures, one a line.")
  _add_sizes(parser)
  _add_labels(parser)


def _add_check(subparsers):
  """Adds check."""
  parser = _add_command(
      subparsers, 'check', checks.check,
      'Says what is wrong with a data set before training does.', 'DIR',
      'Reads every file as training does. Prints OK and exits with 0, or all '
      'problems\nand exits with 1; what is only worth knowing follows behind.')
  parser.add_argument('root', metavar='ROOT', help='As config.data.root.')
  for key in checks.OPTIONS:
    parser.add_argument(
        f'--{key}', help=f'As config.data.{key}, whose default it has.',
        metavar='PATH|none' if key in checks.OPTIONAL else 'PATH')
  parser.add_argument('--classes', metavar='FILE|voc',
                      help='Class names, one a line, below ROOT or absolute; '
                      'classes.txt by default.')
  parser.add_argument('--crop_size', type=_positive, metavar='PIXELS',
                      help='As config.data.crop_size.')
  parser.add_argument('--image_range', type=_range, metavar='LOW,HIGH',
                      help='As config.data.image_range.')
  _add_labels(parser)


def _number(convert, low, high, rule):
  """Returns an argparse type for numbers from `low` to `high`."""
  def parse(text):
    """Returns the number, or raises what argparse shows."""
    try:
      value = convert(text)
    except ValueError:
      value = None
    if value is None or not low <= value <= high:
      raise argparse.ArgumentTypeError(f'{text!r} is not {rule}')
    return value
  return parse


def _range(text):
  """Returns (low, high), or raises what argparse shows."""
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


if __name__ == '__main__':
  command_line.end_on_sigterm()
  command_line.run(lambda options: options.run(options), parser=make_parser(),
                   interrupted='Nothing was written.')
