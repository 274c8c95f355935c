"""Converts annotations of other programs to data sets, and masks to theirs.

python -m scribble_jax.convert project.json DIR --images=photographs
python -m scribble_jax.convert runs/predictions corrected --to=label_studio

The first command makes a data set, DIR/JPEGImages, scribbles, classes.txt and
the train list, from an export of Label Studio, labelme, CVAT, COCO, napari,
ilastik, nnU-Net, Scribbles4All, QuPath or Supervisely: a file, folder or zip.
The second one converts a folder of masks with classes.txt for one of four
programs. docs/formats.md lists what is read and what is lost.
"""

import argparse

from scribble_jax import command_line
from scribble_jax.convert import annotation_export
from scribble_jax.convert import annotation_import
from scribble_jax.convert import input_files
from scribble_jax.convert import rasterizing
from scribble_jax.data import dataset_files
from scribble_jax.errors import UserError
from scribble_jax.labels import IGNORE_LABEL


def make_parser():
  """Returns the argparse parser."""
  parser = command_line.ArgumentParser(
      prog='python -m scribble_jax.convert', description=__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter)
  add = parser.add_argument
  add('source', metavar='SOURCE', help='File, folder or zip.')
  add('target', metavar='TARGET', help='Folder to make, whole or not at all.')
  kinds = sorted(annotation_import.READERS)
  add('--from', dest='kind', choices=kinds, metavar='KIND', help='Kind of '
      f'SOURCE, if it is not recognised: {", ".join(kinds)}.')
  kinds = sorted(annotation_export.WRITERS)
  add('--to', choices=kinds, metavar='KIND',
      help=f'Write masks of class indices for {", ".join(kinds)}.')
  add('--images', metavar='DIR', help='Folder of the photographs; by default '
      'that of the annotations.')
  add('--classes', metavar='FILE', help='Class names, one per line, background '
      'first; other classes are left out.')
  add('--photographs', default=input_files.LINK,
      choices=(input_files.LINK, input_files.SYMLINK, input_files.COPY),
      help='Hard links, or copies on another disk (default), symbolic links, '
      'or copies.')
  add = parser.add_argument_group('reading').add_argument
  default = rasterizing.Drawing()
  add('--polygons', default=default.polygons,
      choices=(rasterizing.MASK, rasterizing.STROKE, rasterizing.BOX),
      help='Fill them (default), simulate a stroke '
      'inside of each, or draw a stroke across the bounding box of each.')
  add('--boxes', choices=(rasterizing.MASK, rasterizing.STROKE),
      default=default.boxes,
      help='Fill them, or draw a stroke across each (default).')
  add('--width', type=int, default=default.width, metavar='PIXELS',
      help='Width of strokes and points that have none (default %(default)s).')
  add('--unannotated', choices=('unlabelled', 'background'),
      default='unlabelled', help='Meaning of all other pixels '
      '(default %(default)s); background if everything was annotated.')
  add('--seed', type=int, default=default.seed, metavar='N', help='Seed of '
      'strokes in polygons and around boxes (default %(default)s).')
  add = parser.add_argument_group('--to').add_argument
  add('--without_background', dest='with_background', action='store_false',
      help='Leave class 0 out.')
  add('--rle', choices=('compressed', 'uncompressed'), default='compressed',
      help='Run lengths of coco (default %(default)s).')
  add('--shapes', choices=('brush', 'polygon'), default='brush',
      help='Regions of label_studio (default %(default)s).')
  add('--url', metavar='PREFIX', default='/data/local-files/?d=', help='Prefix '
      "of photographs' names in label_studio (default %(default)s).")
  return parser


def main(options):
  """Converts as the command line says, and prints the report."""
  if not 1 <= options.width <= rasterizing.MAX_WIDTH or options.seed < 0:
    raise UserError(f'--width is from 1 to {rasterizing.MAX_WIDTH} pixels, '
                    '--seed at least 0.')
  if options.kind and options.to:
    raise UserError('--from and --to exclude each other: SOURCE of --to is a '
                    'folder of masks.')
  if options.to:
    print(annotation_export.convert(options.source, options.target, options))
    return
  options.class_names = options.classes and dataset_files.read_class_names(
      options.classes, '.')
  options.drawing = rasterizing.Drawing(
      options.polygons, options.boxes, options.width,
      0 if options.unannotated == 'background' else IGNORE_LABEL, options.seed)
  print(annotation_import.convert(options.source, options.target, options))


if __name__ == '__main__':
  command_line.end_on_sigterm()
  command_line.run(main, parser=make_parser(),
                   interrupted='Nothing was written.')
