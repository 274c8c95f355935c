r"""Makes the data set of the paper's experiment from the official archives.

python -m scribble_jax.voc2012 --output=VOC2012

Downloads PASCAL VOC 2012, SBD and ScribbleSup (3.5 GB) into VOC2012_archives,
or uses files of the same names in --archives=FOLDER. Writes the data set of
configs/scribblesup.py: photographs, dense masks of val, strokes, and lists of
10,582 train images, (VOC train + SBD train and val) without VOC val, and of
1,449 val images. After an interruption, the same command resumes.
"""

import collections
import io
import json
import os
import pathlib
import re
import urllib.parse

from absl import flags
from absl import logging
import scipy.io
from tqdm import tqdm

from scribble_jax import command_line
from scribble_jax.errors import Stopped
from scribble_jax.errors import UserError
from scribble_jax.errors import raise_problems
from scribble_jax.files import archives as archive_files
from scribble_jax.files import atomic
from scribble_jax.files import downloads
from scribble_jax.files import listings
from scribble_jax.files import masks
from scribble_jax.files import storage
from scribble_jax.files import write_errors

VOC = ('http://host.robots.ox.ac.uk/pascal/VOC/voc2012/'
       'VOCtrainval_11-May-2012.tar', '6cd6e144f989b92b3379bac3b3de84fd')
SBD = ('http://www.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/'
       'semantic_contours/benchmark.tgz', '82b4d87ceb2ed10f6038a1cba92111cb')
# Its md5 is not published, and its URL has changed before.
SCRIBBLES = ('https://www.dropbox.com/s/9vh3kvtd742red8/'
             'scribble_annotation.zip?dl=1')
_SCRIBBLES_PAGE = 'https://jifengdai.org/downloads/scribble_sup/'
NUM_IMAGES = {'train': 10_582, 'val': 1_449}
DESCRIPTION = 'voc2012.json'  # Marks a folder that this command has made.
# Paths in the archives; the first group is a split or an id.
_VOC_LIST = r'\bImageSets/Segmentation/(train|val)\.txt$'
_SBD_LIST = r'\bdataset/(train|val)\.txt$'
_PHOTOGRAPH = r'\bJPEGImages/([^/]+)\.jpg$'
_VOC_MASK = r'\bSegmentationClass/([^/]+)\.png$'
_SBD_MASK = r'\bdataset/cls/([^/]+)\.mat$'
# ScribbleSup's archive has strokes of PASCAL-Context's classes for some of the
# same images.
_STROKES = r'(?i)^(?!.*context).*?([^/]+)\.xml$'


def make(output, archives=None, scribbles=SCRIBBLES, train_masks=False):
  """Makes the data set, unless it exists already.

  Args:
    output: Folder to make, whole or not at all.
    archives: Folder of the archives, on this machine; missing archives are
      downloaded to it. None: OUTPUT_archives.
    scribbles: URL or file of ScribbleSup's archive, zip or tar.
    train_masks: Whether to write dense masks of the training images as well:
      VOC's, or SBD's if VOC has none.

  Raises:
    UserError: An archive or the output cannot be used.
  """
  output = storage.absolute(output)
  if _is_complete(output, train_masks):
    return
  archives = storage.absolute(archives or f'{output}_archives')
  if storage.is_remote(archives):
    raise UserError(f'--archives={archives}: name a folder of this machine.')
  with write_errors.named(archives):
    strokes, voc, sbd = (_fetched(archives, *source) for source in (
        (scribbles, None), VOC, SBD))
  with (write_errors.named(output.parent),
        atomic.only_one_process(output)):
    if _is_complete(output, train_masks):  # Made by another process meanwhile.
      return
    logging.info('Reading the archives.')
    lists = _read_lists(voc, sbd)
    found = _read_strokes(strokes, lists)
    with atomic.whole_folder(output) as folder:
      _write(folder, lists, found, voc, sbd if train_masks else None)
      (folder / DESCRIPTION).write_text(json.dumps(
          {'train_masks': train_masks}) + '\n')
  print(f'{output} is complete. {archives} is no longer needed.')


def _is_complete(output, train_masks):
  """Whether an earlier run has made the folder.

  Raises:
    UserError: The folder holds anything else.
  """
  atomic.discard_unfinished(output)
  if not (output / DESCRIPTION).is_file():
    if output.is_file() or (output.is_dir() and any(output.iterdir())):
      raise UserError(f'{output} holds something else than an output of this '
                      'command. Name a new folder with --output.')
    return False
  made = json.loads((output / DESCRIPTION).read_text())
  if train_masks and not made['train_masks']:
    raise UserError(f'{output} was made without --train_masks. Name a new '
                    'folder with --output; the archives need no download.')
  print(f'{output} is complete; there is nothing to do.')
  return True


def _fetched(archives, url, md5):
  """Returns the path of an archive; downloads it if it is missing."""
  if not re.match('https?://', url):
    if not pathlib.Path(url).is_file():
      raise UserError(f'--scribbles={url} is no file and no URL. Look for the '
                      f'archive at {_SCRIBBLES_PAGE}.')
    return pathlib.Path(url)
  name = pathlib.PurePosixPath(urllib.parse.urlsplit(url).path).name
  path = archives / (name or 'scribbles')
  downloads.fetch(url, path, md5, (
      f'Or put {name} from elsewhere into {archives}.' if md5 else
      f'The archive has moved before: look for it at {_SCRIBBLES_PAGE} and '
      'name it with --scribbles=FILE_OR_URL.'))
  return path


def _read_lists(voc, sbd):
  """Returns {split: [id, ...]}, sorted; no id is in both splits."""
  ids = {(path, split): set() for path in (voc, sbd) for split in NUM_IMAGES}
  for path, pattern in ((voc, _VOC_LIST), (sbd, _SBD_LIST)):
    for split, name, content in archive_files.read_files(path, pattern):
      ids[path, split].update(
          listings.decoded(f'{path}/{name}', content).split())
  raise_problems([f'{path} holds no list of {split}'
                  for (path, split), found in ids.items() if not found],
                 'Use the original archive.')
  val = ids[voc, 'val']
  return {'train': sorted(set().union(*ids.values()) - val),
          'val': sorted(val)}


def _read_strokes(path, lists):
  """Returns {id: XML} of the listed images.

  Args:
    path: Path of ScribbleSup's archive, which has 10,582 + 1,449 images.
    lists: {split: [id, ...]}.

  Raises:
    UserError: Strokes of training images are missing, or the lists do not have
      NUM_IMAGES.
  """
  folders = collections.defaultdict(dict)
  for name, place, content in archive_files.read_files(path, _STROKES):
    folders[os.path.dirname(place)][name] = content
  ids, strokes, unlisted = {*lists['train'], *lists['val']}, {}, []
  for found in sorted(folders.values(), key=lambda found: len(
      found.keys() & ids)):  # The fullest folder is last and takes precedence.
    strokes.update(found)
    unlisted = sorted(found.keys() - ids)
  wrong = [f'{split} has {len(lists[split])} images, not {number}'
           for split, number in NUM_IMAGES.items()
           if len(lists[split]) != number]
  raise_problems(wrong and wrong + [
      f'{name} has strokes in {path}, but no list has it' for name in unlisted],
                 'Use the original archives.')
  raise_problems(
      [f'{path} holds no strokes of {name}' for name in lists['train']
       if name not in strokes], f'See {_SCRIBBLES_PAGE} and name the whole '
      'archive with --scribbles=FILE_OR_URL.')
  return {name: strokes[name] for name in ids & strokes.keys()}


def _write(folder, lists, strokes, voc, sbd):
  """Writes the data set, with SBD's masks unless `sbd` is None."""
  train, val = ({*lists[split]} for split in ('train', 'val'))
  lacking = _copy(voc, _PHOTOGRAPH, train | val, folder / 'JPEGImages', '.jpg')
  problems = [f'{voc} holds no photograph of {name}'
              for name in sorted(lacking)]
  dense = folder / 'SegmentationClassAug'
  lacking = _copy(voc, _VOC_MASK, train | val if sbd else val, dense, '.png')
  if sbd:
    lacking = _copy(sbd, _SBD_MASK, lacking - val, dense, '.png',
                    _write_sbd_mask) | (lacking & val)
  problems += [f'the archives hold no dense mask of {name}'
               for name in sorted(lacking)]
  raise_problems(problems, 'Use the original archives.')
  (folder / 'scribbles').mkdir()
  for name, content in strokes.items():
    (folder / 'scribbles' / f'{name}.xml').write_bytes(content)
  place = folder / 'ImageSets/SegmentationAug'
  place.mkdir(parents=True)
  for split, names in lists.items():
    (place / f'{split}.txt').write_text('\n'.join(names) + '\n')


def _copy(archive, pattern, ids, folder, suffix,
          write=lambda path, content: path.write_bytes(content)):
  """Writes the archive's files of some ids; returns the ids without a file."""
  folder.mkdir(exist_ok=True)
  lacking = {*ids}
  with tqdm(total=len(ids), desc=f'Writing {folder.name}', unit='file',
            leave=False) as progress:
    for name, place, content in archive_files.read_files(
        archive, pattern, ids):
      try:
        write(folder / f'{name}{suffix}', content)
      except ValueError as error:
        raise UserError(f'{archive}/{place} {error}. Use the original archive.'
                        ) from error
      lacking.discard(name)
      progress.update()
  return lacking


def _write_sbd_mask(path, content):
  """Writes one of SBD's MATLAB files as an index PNG.

  Raises:
    ValueError: It holds no mask.
  """
  try:
    mask = scipy.io.loadmat(io.BytesIO(content))['GTcls'][0]['Segmentation'][0]
  except Exception as error:  # For damaged files, scipy raises any class.
    raise ValueError(f'holds no mask ({error})') from error
  masks.write_mask(path, mask)


def main(argv):
  """Makes what the flags describe."""
  del argv
  try:
    make(_OUTPUT.value, _ARCHIVES.value, _SCRIBBLES.value, _TRAIN_MASKS.value)
  except KeyboardInterrupt:
    raise Stopped('Interrupted. The same command goes on from what has come.'
                  ) from None


if __name__ == '__main__':
  _OUTPUT = flags.DEFINE_string(
      'output', None, 'Folder to make, such as VOC2012.', required=True)
  _ARCHIVES = flags.DEFINE_string(
      'archives', None, 'Folder of the archives; missing ones are downloaded '
      'to it. Default: OUTPUT_archives.')
  _SCRIBBLES = flags.DEFINE_string(
      'scribbles', SCRIBBLES, "FILE or URL of ScribbleSup's archive, zip or "
      'tar, of XML files in any folders.')
  _TRAIN_MASKS = flags.DEFINE_bool(
      'train_masks', False, 'Also write dense masks of the training images, '
      'which training does not use.')
  command_line.end_on_sigterm()
  command_line.run(main, interrupted='The same command goes on.')
