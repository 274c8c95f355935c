"""What the commands do: folders in, folders and tables out."""

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

VOC = 'voc'


def class_names(classes):
  """Returns the names that --classes stands for, VOC's by default."""
  if classes in (None, VOC):
    return VOC_CLASSES
  return dataset_files.read_class_names(classes, '.')


def _meanings(options):
  """Returns what the values of masks mean, of `labels.meanings`."""
  return labels.meanings(
      options.unlabelled_index, options.label_map, prefix='--')


def _listed(files, list_file, where, suffixes):
  """Returns the part of {id: file} that a list names.

  Without a list, those that are in no subfolder, with a warning about the
  others; if all are in subfolders, all.
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


def _scribbles_of(options):
  """Returns {id: scribble} of whatever kind, as far as it is wanted."""
  path = storage.path(options.scribbles)
  wanted = options.list and listings.read_ids(storage.path(options.list))
  found = annotations.scribbles_by_id(
      path, 'Name a folder, zip or JSON file of scribbles.', wanted or ())
  return _listed(found, options.list, path, annotations.SUFFIXES)


def _tasks(files, options):
  """Returns [(scribble, id, image path or None)], what `_read` takes."""
  photographs = _images_of(files, options.images)
  return [(scribble, name, photographs[name])
          for name, scribble in files.items()]


def _images_of(ids, folder):
  """Returns {id: image path}, of None without a folder."""
  if folder is None:
    return dict.fromkeys(ids)
  folder = storage.path(folder)
  found = listings.files_by_id(folder, listings.IMAGE_SUFFIXES)
  raise_problems(
      missing.explain(folder, found, [*ids], listings.IMAGE_SUFFIXES,
                      'no image for the id'),
      'Add the images, or name the ids that have one by --list=FILE.')
  return {name: found[name] for name in ids}


def _collect(results_and_problems):
  """Returns the results of all tasks; raises what was wrong with any."""
  found, problems = [], []
  for result, problem in results_and_problems:
    problems += [problem] if problem else []
    found.append(result)
  raise_problems(problems, 'Mend these files and start again.')
  return found


def simulate(options):
  """Draws strokes on dense masks and prints their figures.

  Args:
    options: As parsed by `python -m scribble_jax.scribbles simulate`.

  Raises:
    UserError: Whatever a user can mend.
  """
  if options.panels and options.images is None:
    raise UserError('--panels needs the photographs too. Add --images=FOLDER.')
  names = options.classes and class_names(options.classes)  # Before any work.
  meaning = _meanings(options)['ground_truth']
  folder = storage.path(options.masks)
  files = _listed(
      listings.files_by_id(folder, listings.MASK_SUFFIXES), options.list,
      folder, listings.MASK_SUFFIXES)
  shown = {name: files[name] for name in _spread(list(files), options.panels)}
  photographs = _images_of(shown, options.images if shown else None)
  rounds = ['.'] if options.rounds == 1 else [
      f'round_{number}' for number in range(options.rounds)]
  strokes = {
      'width': options.width, 'style': options.style,
      'coverage': options.coverage, 'max_parts': options.max_parts,
      'max_background_strokes': options.background_strokes,
      'background_probability': options.background_probability}
  description = _description(options, options.masks, strokes) | {
      'rounds': options.rounds}
  with outputs.whole_output(
      options.output, options.overwrite, description) as folder:
    for name in rounds:
      (folder / name).mkdir(exist_ok=True)
    tasks = [(name, path, number) for number in range(len(rounds))
             for name, path in files.items()]
    draw = functools.partial(
        _simulate_one, folders=[folder / name for name in rounds],
        seed=options.seed, strokes=strokes, meaning=meaning,
        max_megapixels=options.max_megapixels)
    measured = _collect(parallel.map_tasks(
        draw, tasks, options.processes, 'Drawing strokes'))
    if shown:
      (folder / 'panels').mkdir()
      formats.write_png(folder / 'panels/panels.png', stroke_previews.draw(
          shown, photographs, folder / rounds[0], names, meaning,
          options.max_megapixels))
  print(statistics.table(statistics.summarise(measured)).text())


def _description(options, source, numbers):
  """Returns what a folder is made by and of; see outputs.whole_output."""
  return {'command': options.command, 'options': numbers, 'seed': options.seed,
          'input': source, 'list': options.list, 'images': options.images,
          'classes': options.classes,
          'unlabelled_index': options.unlabelled_index,
          'label_map': options.label_map}


def _simulate_one(task, folders, seed, strokes, meaning, max_megapixels):
  """Draws and writes one round of one image; returns Measures, problem."""
  name, path, number = task
  try:
    mask = labels.translate(masks.read_mask(path, max_megapixels), meaning)
  except masks.DAMAGED as error:
    return None, f'{path}: {error}'
  scribble = simulation.simulate_scribble(
      seeding.generator(seed, name, number, 'simulate'), mask, **strokes)
  masks.write_mask(listings.new_file(folders[number], name), scribble)
  return measures.measure(name, scribble, mask), None


def _spread(ids, count):
  """Returns up to `count` ids from all over the list."""
  places = np.linspace(0, len(ids) - 1, min(count, len(ids)))
  return [ids[int(place)] for place in places]


def rewrite(options):
  """Writes scribbles of any kind as PNG masks, deformed if wanted.

  Args:
    options: As parsed by from-xml, from-points, from-boxes, shrink or drop.

  Raises:
    UserError: Whatever a user can mend.
  """
  files = _scribbles_of(options)
  if options.kinds is not None:
    _check_kinds(files, options.kinds, options.command)
  tasks = _tasks(files, options)
  ratios = {key: options.ratio if options.command == key else 0.0
            for key in ('shrink', 'drop')}
  description = _description(options, options.scribbles, ratios)
  # What is deformed is drawn as in training; --seed is the deformation's.
  drawing_seed = options.seed if options.kinds else 0
  with outputs.whole_output(
      options.output, options.overwrite, description) as folder:
    write = functools.partial(
        _rewrite_one, folder=folder, classes=class_names(options.classes),
        any_index=options.classes is None, drawing_seed=drawing_seed,
        seed=options.seed, meaning=_meanings(options)['scribbles'],
        max_megapixels=options.max_megapixels, **ratios)
    _collect(parallel.map_tasks(
        write, tasks, options.processes, 'Writing scribbles'))
  print(f'{len(files)} scribbles are in {options.output}.')


def _check_kinds(files, kinds, command):
  """Raises UserError for a command that is meant for other annotations."""
  problems = [f'{file} holds no {" or ".join(kinds)}' for file in files.values()
              if getattr(file, 'kind', 'PNG') not in kinds]
  raise_problems(problems, f'{command} is for other files; see --help.')


def _rewrite_one(task, folder, classes, any_index, drawing_seed, seed, meaning,
                 max_megapixels, shrink, drop):
  """Reads, deforms and writes one scribble; returns None, problem."""
  try:
    scribble = _read(
        task, classes, any_index, meaning, max_megapixels, drawing_seed)
  except masks.DAMAGED as error:
    return None, f'{task[0]}: {error}'
  name = task[1]
  if shrink or drop:
    scribble = deformation.deform(
        scribble, shrink=shrink, drop=drop, key=(seed, name))
  masks.write_mask(listings.new_file(folder, name), scribble)
  return None, None


def _read(task, classes, any_index, meaning, max_megapixels, seed=0):
  """Returns the mask of a task: (scribble, id, image path or None)."""
  scribble, _, image = task
  if any_index and not isinstance(scribble, annotations.Annotation):
    classes = range(labels.IGNORE_LABEL)
  return annotations.read(scribble, image and _size(image, max_megapixels),
                          classes, seed, meaning, max_megapixels)


def _size(path, max_megapixels):
  try:
    return images.read_size(storage.read_bytes(path), max_megapixels)
  except masks.DAMAGED as error:
    raise ValueError(f'its image {path}: {error}') from error


def stats(options):
  """Prints the figures of scribbles, compared with masks if there are some.

  Args:
    options: As parsed by `python -m scribble_jax.scribbles stats`.

  Raises:
    UserError: Whatever a user can mend.
  """
  files = _scribbles_of(options)
  tasks = _tasks(files, options)
  dense = {}
  if options.masks is not None:
    folder = storage.path(options.masks)
    dense = listings.files_by_id(folder, listings.MASK_SUFFIXES)
    raise_problems(
        missing.explain(folder, dense, [*files], listings.MASK_SUFFIXES,
                        'no mask for the id'),
        'Add the masks, or name the ids that have one by --list=FILE.')
  read = functools.partial(
      _measure_one, dense=dense, classes=class_names(options.classes),
      any_index=options.classes is None, meanings=_meanings(options),
      max_megapixels=options.max_megapixels)
  measured = _collect(parallel.map_tasks(
      read, tasks, options.processes, 'Measuring'))
  print(statistics.table(statistics.summarise(measured)).text())
  if options.csv is not None:
    try:
      statistics.write_csv(options.csv, measured)
    except OSError as error:
      raise UserError(f'Cannot write {options.csv}: {error}. Name another '
                      'file.') from error


def _measure_one(task, dense, classes, any_index, meanings, max_megapixels):
  """Reads and measures one scribble; returns Measures, problem."""
  scribble, name, _ = task
  try:
    drawn = _read(task, classes, any_index, meanings['scribbles'],
                  max_megapixels)
    path = dense.get(name)
    if path is None:
      return measures.measure(name, drawn), None
    mask = labels.translate(
        masks.read_mask(path, max_megapixels), meanings['ground_truth'])
    if mask.shape != drawn.shape:
      raise ValueError(f'is {drawn.shape[1]}x{drawn.shape[0]} pixels, its mask '
                       f'{mask.shape[1]}x{mask.shape[0]}')
    return measures.measure(name, drawn, mask), None
  except masks.DAMAGED as error:
    return None, f'{scribble}: {error}'
