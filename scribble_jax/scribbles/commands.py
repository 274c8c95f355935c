"""The commands that read and write folders of scribbles."""

import functools

from absl import logging
import numpy as np

from scribble_jax import labels
from scribble_jax.data import dataset_files
from scribble_jax.dataset_classes import VOC_CLASSES
from scribble_jax.errors import UserError
from scribble_jax.errors import raise_problems
from scribble_jax.files import formats
from scribble_jax.files import images
from scribble_jax.files import listings
from scribble_jax.files import masks
from scribble_jax.files import missing
from scribble_jax.files import storage
from scribble_jax.scribbles import measures
from scribble_jax.scribbles import outputs
from scribble_jax.scribbles import parallel
from scribble_jax.scribbles import statistics
from scribble_jax.scribbles import stroke_previews
from scribble_jax.weak_labels import annotations
from scribble_jax.weak_labels import deformation
from scribble_jax.weak_labels import seeding
from scribble_jax.weak_labels import simulation

# What scribbles.json records of the options.
_RECORDED = ('command', 'seed', 'list', 'images', 'classes', 'unlabelled_index',
             'label_map')
# Options of `simulate` that are arguments of `simulation.simulate_scribble`.
_STROKES = ('width', 'style', 'coverage', 'max_parts', 'max_background_strokes',
            'background_probability')


def _class_names(classes):
  """Returns the class names that --classes stands for, VOC's by default."""
  if classes in (None, 'voc'):
    return VOC_CLASSES
  return dataset_files.read_class_names(classes, '.')


def _meanings(options):
  """Returns the meanings of the values of masks, from `labels.meanings`."""
  return labels.meanings(
      options.unlabelled_index, options.label_map, prefix='--')


def _listed(files, list_file, where, suffixes):
  """Returns the part of {id: file} that is listed in a file.

  Without a list, files in subfolders are left out with a warning, unless all
  files are in subfolders.
  """
  if not files:
    raise UserError(f'{where} holds no scribble, mask or annotation. Name a '
                    'folder, zip or JSON file that does.')
  if list_file is None:
    top = {name: file for name, file in files.items() if '/' not in name}
    if top and len(top) < len(files):
      logging.warning('%s: %d files in subfolders are left out. Name the ids '
                      'by --list=FILE.', where, len(files) - len(top))
    return top or files
  ids = listings.listed_ids(storage.path(list_file), where, files)
  raise_problems(missing.explain(where, files, ids, suffixes),
                 'Add the files or take the ids off the list.')
  return {name: files[name] for name in ids}


def _files_of(ids, folder, suffixes, kind):
  """Returns {id: path} of the images or masks in a folder, for some ids."""
  folder = storage.path(folder)
  found = listings.files_by_id(folder, suffixes)
  raise_problems(
      missing.explain(
          folder, found, [*ids], suffixes, f'no {kind} for the id'),
      f'Add the {kind}s, or name the ids that have one by --list=FILE.')
  return {name: found[name] for name in ids}


def _images_of(ids, folder):
  return _files_of(ids, folder, listings.IMAGE_SUFFIXES, 'image')


def _scribbles_of(options):
  """Returns [(id, scribble, image path or None)] of the scribbles to read."""
  path = storage.path(options.scribbles)
  wanted = options.list and listings.read_ids(storage.path(options.list))
  found = annotations.scribbles_by_id(
      path, 'Name a folder, zip or JSON file of scribbles.', wanted or ())
  files = _listed(found, options.list, path, annotations.SUFFIXES)
  photographs = ({} if options.images is None
                 else _images_of(files, options.images))
  return [(name, scribble, photographs.get(name))
          for name, scribble in files.items()]


def _map(function, tasks, options, description):
  """Returns the results of all tasks.

  Args:
    function: Function of a task that returns (result, problem or None).
    tasks: List.
    options: Options of the command.
    description: Text before the progress bar.

  Raises:
    UserError: There are problems.
  """
  found, problems = zip(*parallel.map_tasks(
      function, tasks, options.processes, description), strict=True)
  raise_problems([*filter(None, problems)],
                 'Mend these files and start again.')
  return found


def _output(options, source, details):
  """Returns the context manager of a command's output folder.

  Args:
    options: Options of the command.
    source: Path of the input.
    details: What else `outputs.DESCRIPTION` records.
  """
  recorded = {key: getattr(options, key) for key in _RECORDED}
  return outputs.whole_output(options.output, options.overwrite,
                              recorded | {'input': source} | details)


def simulate(options):
  """Draws strokes on dense masks and prints their statistics.

  Args:
    options: As parsed by `python -m scribble_jax.scribbles simulate`.

  Raises:
    UserError: An option or a file can't be used.
  """
  if options.panels and options.images is None:
    raise UserError('--panels needs the photographs too. Add --images=FOLDER.')
  # Errors in them show before any work.
  names = options.classes and _class_names(options.classes)
  meaning = _meanings(options)['ground_truth']
  folder = storage.path(options.masks)
  files = _listed(
      listings.files_by_id(folder, listings.MASK_SUFFIXES), options.list,
      folder, listings.MASK_SUFFIXES)
  # Spread evenly over the list.
  places = np.linspace(0, len(files) - 1, min(options.panels, len(files)))
  shown = {name: files[name] for name in (
      [*files][int(place)] for place in places)}
  photographs = _images_of(shown, options.images) if shown else {}
  rounds = ['.'] if options.rounds == 1 else [
      f'round_{number}' for number in range(options.rounds)]
  strokes = {key: getattr(options, key) for key in _STROKES}
  with _output(options, options.masks, {
      'options': strokes, 'rounds': options.rounds}) as folder:
    for name in rounds:
      (folder / name).mkdir(exist_ok=True)
    tasks = [(name, path, number) for number in range(len(rounds))
             for name, path in files.items()]
    draw = functools.partial(
        _simulate_one, folders=[folder / name for name in rounds],
        strokes=strokes, meaning=meaning, options=options)
    measured = _map(draw, tasks, options, 'Drawing strokes')
    if shown:
      (folder / 'panels').mkdir()
      formats.write_png(folder / 'panels/panels.png', stroke_previews.draw(
          shown, photographs, folder / rounds[0], names, meaning,
          options.max_megapixels))
  print(statistics.table(statistics.summarise(measured)).text())


def _simulate_one(task, folders, strokes, meaning, options):
  """Draws and writes one round of one image; returns Measures, problem."""
  name, path, number = task
  try:
    mask = labels.translate(
        masks.read_mask(path, options.max_megapixels), meaning)
  except masks.DAMAGED as error:
    return None, f'{path}: {error}'
  scribble = simulation.simulate_scribble(
      seeding.generator(options.seed, name, number, 'simulate'), mask,
      **strokes)
  masks.write_mask(listings.new_file(folders[number], name), scribble)
  return measures.measure(name, scribble, mask), None


def rewrite(options):
  """Writes scribbles of any kind as PNG masks and may degrade them.

  Args:
    options: As parsed by from-xml, from-points, from-boxes, shrink or drop.

  Raises:
    UserError: An option or a file can't be used.
  """
  tasks = _scribbles_of(options)
  if options.kinds is not None:
    raise_problems(
        [f'{scribble} holds no {" or ".join(options.kinds)}'
         for _, scribble, _ in tasks
         if getattr(scribble, 'kind', 'PNG') not in options.kinds],
        f'{options.command} is for other files; see --help.')
  ratios = {key: options.ratio if options.command == key else 0.0
            for key in ('shrink', 'drop')}
  with _output(options, options.scribbles, {'options': ratios}) as folder:
    write = functools.partial(
        _rewrite_one, folder=folder, ratios=ratios, options=options,
        names=_class_names(options.classes), meanings=_meanings(options))
    _map(write, tasks, options, 'Writing scribbles')
  print(f'{len(tasks)} scribbles are in {options.output}.')


def _rewrite_one(task, folder, ratios, options, names, meanings):
  """Reads, degrades and writes one scribble; returns None, problem."""
  name, source, _ = task
  # Degraded scribbles are drawn as in training; --seed degrades them.
  seed = options.seed if options.kinds else 0
  try:
    scribble = _read(task, options, names, meanings, seed)
  except masks.DAMAGED as error:
    return None, f'{source}: {error}'
  scribble = deformation.deform(scribble, key=(options.seed, name), **ratios)
  masks.write_mask(listings.new_file(folder, name), scribble)
  return None, None


def _read(task, options, names, meanings, seed=0):
  """Returns the mask of a task of `_scribbles_of`."""
  _, scribble, image = task
  if options.classes is None and not isinstance(
      scribble, annotations.Annotation):
    names = range(labels.IGNORE_LABEL)  # Masks may have any class.
  size = None
  if image is not None:
    try:
      size = images.read_size(storage.read_bytes(image), options.max_megapixels)
    except masks.DAMAGED as error:
      raise ValueError(f'its image {image}: {error}') from error
  return annotations.read(scribble, size, names, seed, meanings['scribbles'],
                          options.max_megapixels)


def stats(options):
  """Prints statistics of scribbles, compared with dense masks if given.

  Args:
    options: As parsed by `python -m scribble_jax.scribbles stats`.

  Raises:
    UserError: An option or a file can't be used.
  """
  tasks = _scribbles_of(options)
  dense = {}
  if options.masks is not None:
    dense = _files_of([name for name, *_ in tasks], options.masks,
                      listings.MASK_SUFFIXES, 'mask')
  measure = functools.partial(
      _measure_one, dense=dense, options=options,
      names=_class_names(options.classes), meanings=_meanings(options))
  measured = _map(measure, tasks, options, 'Measuring')
  print(statistics.table(statistics.summarise(measured)).text())
  if options.csv is not None:
    try:
      statistics.write_csv(options.csv, measured)
    except OSError as error:
      raise UserError(f'Cannot write {options.csv}: {error}. Name another '
                      'file.') from error


def _measure_one(task, dense, options, names, meanings):
  """Reads and measures one scribble; returns Measures, problem."""
  name, source, _ = task
  try:
    scribble, mask = _read(task, options, names, meanings), None
    if name in dense:
      mask = labels.translate(
          masks.read_mask(dense[name], options.max_megapixels),
          meanings['ground_truth'])
      if mask.shape != scribble.shape:
        raise ValueError(
            f'is {scribble.shape[1]}x{scribble.shape[0]} pixels, its mask '
            f'{mask.shape[1]}x{mask.shape[0]}')
    return measures.measure(name, scribble, mask), None
  except masks.DAMAGED as error:
    return None, f'{source}: {error}'
