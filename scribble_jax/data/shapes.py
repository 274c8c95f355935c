"""The embedded demo: little sea-bed scenes drawn from numbers alone.

Fish, starfish and shells, striped or spotted, lie among pebbles and weed.
A class is a pair of outline and texture; each outline and each texture is
shared by several classes, pebbles wear the same textures, and every colour is
anybody's, so that no single cue tells the classes apart.

Every image depends on (seed, split, index) alone.
"""

import os
import pathlib
import shutil

import numpy as np
from PIL import Image
from PIL import ImageDraw
from PIL import ImageFilter
from scipy import ndimage
import tqdm

from scribble_jax.data import masks
from scribble_jax.data import scribbles

OUTLINES = ('fish', 'star', 'shell')
TEXTURES = ('striped', 'spotted')
CLASS_NAMES = ('background',) + tuple(
    f'{texture}_{outline}' for outline in OUTLINES for texture in TEXTURES)

# Outlines are drawn this many times larger and averaged down: soft edges.
SUPERSAMPLING = 4

# --- Scenes. Lengths are shares of the image side unless said otherwise. ---
# One to three objects of these radii cover 30 % of an image, as in VOC.
OBJECT_COUNT_PROBABILITIES = (0.3, 0.4, 0.3)
OBJECT_RADIUS = (0.19, 0.38)
# Pebbles wear the objects' textures and colours and have their relief, so
# neither texture nor relief alone means foreground.
PEBBLE_COUNT = (2, 6)
PEBBLE_RADIUS = (0.05, 0.16)
PEBBLE_TEXTURED = 0.5
WEED_COUNT = (1, 5)
WEED_WIDTH = (0.012, 0.04)
# 1 / 0.055 = 18 waves across an image: 7 pixels at 128, enough for a stride-2
# stem to see, and several waves across an object.
TEXTURE_PERIOD = (0.05, 0.08)
# Texture fades towards an object's border over this share of its radius: what
# a stroke in the middle teaches does not settle where the object ends.
TEXTURE_FADE = 0.3
TEXTURE_STRENGTH = (0.5, 1.0)
# Least distance in RGB (0..1) between an object's two colours, so that its
# texture shows.
COLOUR_CONTRAST = 0.35
# Strength of ripples (stripes) or gravel (spots) over the whole background.
BACKGROUND_TEXTURE = (0.0, 0.35)
BACKGROUND_NOISE = 0.08
RELIEF, SHADOW = 0.1, 0.4
SENSOR_NOISE = (0.01, 0.035)
# 2 pixels at 128: strokes cover about 3 % of an image, as on VOC.
STROKE_WIDTH = 1 / 64

# --- Pseudo-labels with the errors of class activation maps. ---
# Activations have the network's stride, hence blobs with smooth borders.
ACTIVATION_STRIDE = 4  # Pixels.
# Blur in units of sqrt(area): the larger, the more a blob bleeds.
ACTIVATION_BLUR = (0.10, 0.28)
# Below half the maximum a threshold dilates; most do, as in real CAMs.
ACTIVATION_THRESHOLD = (0.18, 0.5)
ACTIVATION_NOISE = 0.25
# Only the discriminative part of an object lights up.
PARTIAL_PROBABILITY = 0.25
PARTIAL_SPREAD = (0.35, 0.6)  # In units of sqrt(area).
# Another class of the same image takes the object: CAMs know which classes an
# image has, not which is which.
CONFUSED_PROBABILITY = 0.15
# Objects under this share of the image vanish with this probability.
SMALL_AREA, LOST_PROBABILITY = 0.04, 0.5

JPEG_QUALITY = 92
SPLITS = ('train', 'val')


def write_dataset(root, *, num_train, num_val, image_size, seed):
  """Writes a data set in VOC's layout, whole or not at all.

  Args:
    root: Folder to make; it may exist if empty.
    num_train: Number of training images, with scribbles and pseudo-labels.
    num_val: Number of validation images.
    image_size: Height and width of the images in pixels.
    seed: Non-negative integer; the same arguments write the same bytes.

  Raises:
    FileExistsError: If `root` holds files already.
  """
  root = pathlib.Path(os.path.abspath(root))
  if root.exists() and any(root.iterdir()):
    raise FileExistsError(
        f'{root}: not empty; delete it or write the data set elsewhere')
  # A sibling, so that the rename stays within one file system.
  partial = root.with_name(f'.{root.name}.partial')
  shutil.rmtree(partial, ignore_errors=True)  # A killed run's leftover.
  try:
    for folder in ('JPEGImages', 'SegmentationClassAug', 'scribbles',
                   'pseudo_labels', 'ImageSets/SegmentationAug'):
      (partial / folder).mkdir(parents=True)
    for split, count in zip(SPLITS, (num_train, num_val), strict=True):
      _write_split(partial, split, count, image_size, seed)
    (partial / 'classes.txt').write_text('\n'.join(CLASS_NAMES) + '\n')
    os.replace(partial, root)
  except BaseException:  # KeyboardInterrupt too leaves nothing.
    shutil.rmtree(partial, ignore_errors=True)
    raise


def _write_split(root, split, count, image_size, seed):
  """Writes one split's images, masks and list of ids under `root`."""
  width = max(1, round(STROKE_WIDTH * image_size))
  ids = [f'{split}_{index:05d}' for index in range(count)]
  for index, name in enumerate(tqdm.tqdm(ids, desc=f'drawing {split}')):
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    image, ground_truth = draw_scene(rng, image_size)
    Image.fromarray(image).save(
        root / f'JPEGImages/{name}.jpg', quality=JPEG_QUALITY)
    masks.write_mask(root / f'SegmentationClassAug/{name}.png', ground_truth)
    if split == 'train':
      masks.write_mask(root / f'scribbles/{name}.png',
                       scribbles.simulate_scribble(rng, ground_truth, width))
      masks.write_mask(root / f'pseudo_labels/{name}.png',
                       simulate_pseudo_label(rng, ground_truth))
  listing = ''.join(f'{name}\n' for name in ids)
  (root / f'ImageSets/SegmentationAug/{split}.txt').write_text(listing)


def draw_scene(rng, size):
  """Draws one scene.

  Args:
    rng: np.random.Generator.
    size: Height and width in pixels.

  Returns:
    [H, W, 3] uint8 RGB image and [H, W] uint8 classes, indices into
    CLASS_NAMES.
  """
  palette = _palette(rng)
  light = rng.uniform(0, 2 * np.pi)
  canvas = _sea_bed(rng, size, palette)
  for _ in range(rng.integers(*PEBBLE_COUNT, endpoint=True)):
    texture = rng.choice(TEXTURES) if rng.random() < PEBBLE_TEXTURED else None
    _paint(rng, canvas, rng.uniform(0, size, 2),
           size * rng.uniform(*PEBBLE_RADIUS), 'pebble', texture, palette,
           light)
  ground_truth = np.zeros([size, size], np.uint8)
  count = 1 + rng.choice(3, p=OBJECT_COUNT_PROBABILITIES)
  for centre, radius in _places(rng, size, count):
    label = rng.integers(1, len(CLASS_NAMES))
    texture, outline = CLASS_NAMES[label].split('_')
    window, cover = _paint(rng, canvas, centre, radius, outline, texture,
                           palette, light)
    ground_truth[window][cover >= 0.5] = label
  canvas += rng.uniform(*SENSOR_NOISE) * rng.standard_normal(
      canvas.shape, np.float32)
  return np.uint8(np.clip(255 * canvas, 0, 255)), ground_truth


def _places(rng, size, count):
  """Returns `count` pairs of centre and radius; objects overlap in part."""
  places = []
  for _ in range(count):
    radius = size * rng.uniform(*OBJECT_RADIUS)
    candidates = rng.uniform(0.15 * size, 0.85 * size, [4, 2])
    gaps = [min((np.hypot(*(candidate - centre)) - radius - other
                 for centre, other in places), default=0)
            for candidate in candidates]
    places.append((candidates[np.argmax(gaps)], radius))
  return places


def _palette(rng):
  """Returns [6, 3] float32 RGB in 0..1: the colours of one scene."""
  # Two families of neighbouring hues, so that a scene has a mood.
  hues = rng.uniform() + np.array([0, 0.06, 0.15, 0.45, 0.52, 0.65])
  saturation, value = rng.uniform(0.2, 0.75, 6), rng.uniform(0.3, 1, 6)
  # HSV to RGB without branches.
  sector = (hues[:, None] * 6 + [5, 3, 1]) % 6
  chroma = np.clip(np.minimum(sector, 4 - sector), 0, 1)
  rgb = value[:, None] * (1 - saturation[:, None] * chroma)
  return rgb.astype(np.float32)


def _colour_pair(rng, palette, contrast):
  """Picks two of the scene's colours at least `contrast` apart if it can."""
  for _ in range(20):
    first, second = palette[rng.choice(len(palette), 2, replace=False)]
    if np.linalg.norm(first - second) >= contrast:
      break
  return first, second


def _noise(rng, size, cells):
  """Returns [size, size] float32 smooth noise of about unit variance."""
  grid = Image.fromarray(rng.standard_normal([cells, cells], np.float32))
  return np.asarray(grid.resize([size, size], Image.Resampling.BICUBIC))


def _sea_bed(rng, size, palette):
  """Returns a [size, size, 3] float32 background: sand, ripples and weed."""
  first, second = _colour_pair(rng, palette, 0)
  rows, columns = np.mgrid[:size, :size].astype(np.float32)
  angle = rng.uniform(0, 2 * np.pi)
  slope = (np.cos(angle) * rows + np.sin(angle) * columns) / size
  texture = _texture(rng, rng.choice(TEXTURES), rows, columns, size)
  blend = 0.5 + 0.6 * (slope - slope.mean()) + 0.25 * _noise(rng, size, 5)
  blend += rng.uniform(*BACKGROUND_TEXTURE) * (texture - 0.5)
  canvas = first + np.clip(blend, 0, 1)[..., None] * (second - first)
  grain = sum(_noise(rng, size, cells) for cells in (12, 32, size // 2))
  canvas += BACKGROUND_NOISE / np.sqrt(3) * grain[..., None]
  layer = Image.fromarray(np.uint8(np.clip(255 * canvas, 0, 255)))
  side = SUPERSAMPLING * size
  layer = layer.resize([side, side], Image.Resampling.NEAREST)
  pen = ImageDraw.Draw(layer)
  for _ in range(rng.integers(*WEED_COUNT, endpoint=True)):
    colour = tuple(np.uint8(255 * rng.choice(palette)).tolist())
    turns = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.25, 16))
    steps = side / 18 * np.stack([np.cos(turns), np.sin(turns)], 1)
    points = rng.uniform(0, side, 2) + np.cumsum(steps, 0)
    pen.line(points.ravel().tolist(), colour,
             int(side * rng.uniform(*WEED_WIDTH)))
  return np.asarray(layer.reduce(SUPERSAMPLING), np.float32) / 255


def _texture(rng, kind, x, y, size):
  """Returns a float32 pattern in 0..1 at coordinates x, y in pixels."""
  wave = 2 * np.pi / (size * rng.uniform(*TEXTURE_PERIOD))
  x, y = wave * x + rng.uniform(0, 6), wave * y + rng.uniform(0, 6)
  if kind == 'striped':
    # A slow sway keeps stripes from looking ruled.
    pattern = np.sin(x + 0.6 * np.sin(0.3 * y))
  else:
    pattern = np.cos(0.85 * x) + np.cos(0.85 * y) - 0.6
  return np.clip(0.5 + 1.2 * pattern, 0, 1)


def _outline(rng, kind):
  """Returns [N, 2] points of a closed outline of about unit radius."""
  if kind == 'fish':
    angle = np.linspace(-2.7, 2.7, 28)
    body = np.stack([0.2 + 0.8 * np.cos(angle), 0.5 * np.sin(angle)], 1)
    flare = rng.uniform(0.35, 0.55)
    return np.concatenate([body, [(-1, flare), (-0.82, 0), (-1, -flare)]])
  if kind == 'shell':
    # A scalloped rim about the middle, and a hinge.
    angle = np.linspace(-1.75, 1.75, 56)
    radius = 0.87 + 0.12 * np.abs(np.sin(angle * 6 * np.pi / 3.5))
    hinge = [(-0.72, 0.3), (-0.95, 0.3), (-0.95, -0.3), (-0.72, -0.3)]
  else:
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    hinge = np.empty([0, 2])
  if kind == 'star':
    inner = rng.uniform(0.38, 0.5)
    radius = inner + (1.1 - inner) * (0.5 + 0.5 * np.cos(5 * angle))**1.3
  elif kind == 'pebble':
    phases = rng.uniform(0, 2 * np.pi, 3)
    radius = 0.9 + sum(0.1 * np.sin(order * angle + phase)
                       for order, phase in enumerate(phases, 1))
  curve = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)
  return np.concatenate([curve, hinge])


def _paint(rng, canvas, centre, radius, outline, texture, palette, light):
  """Paints one thing onto the canvas, in place.

  Args:
    rng: np.random.Generator.
    canvas: [H, W, 3] float32 RGB in 0..1.
    centre: [2] (row, column) in pixels.
    radius: In pixels.
    outline: One of OUTLINES or 'pebble'.
    texture: One of TEXTURES, or None for a plain thing.
    palette: [N, 3] float32 RGB in 0..1.
    light: Direction that light comes from, in radians.

  Returns:
    The painted window, a tuple of two slices, and [h, w] float32, the share
    of each pixel there that lies inside the outline.
  """
  window = tuple(slice(max(0, int(middle - 1.4 * radius)),
                       min(len(canvas), int(middle + 1.4 * radius) + 1))
                 for middle in centre)
  rows, columns = np.mgrid[window].astype(np.float32)
  angle, stretch = rng.uniform(0, 2 * np.pi), rng.uniform(0.85, 1.15)
  points = _outline(rng, outline) * radius * [stretch, 1 / stretch]
  points = points @ _rotation(angle) + centre - [rows[0, 0], columns[0, 0]]
  height, width = SUPERSAMPLING * np.array(rows.shape)
  shape = Image.new('L', (width, height))
  ImageDraw.Draw(shape).polygon(
      (SUPERSAMPLING * points[:, ::-1]).ravel().tolist(), 255)
  shape = shape.reduce(SUPERSAMPLING)
  blurred = shape.filter(ImageFilter.GaussianBlur(TEXTURE_FADE * radius / 2))
  cover, relief = (np.asarray(layer, np.float32) / 255
                   for layer in (shape, blurred))

  base, second = _colour_pair(rng, palette, COLOUR_CONTRAST)
  mix = np.zeros_like(cover)
  if texture is not None:
    along, across = _rotation(angle + rng.normal(0, 0.25))
    rows, columns = rows - centre[0], columns - centre[1]
    mix = _texture(rng, texture, along[0] * rows + along[1] * columns,
                   across[0] * rows + across[1] * columns, len(canvas))
    # The blurred cover is 1/2 on the border.
    mix *= rng.uniform(*TEXTURE_STRENGTH) * np.clip(2 * relief - 1, 0, 1)
  # The blurred cover serves as a height map too, lit from one side.
  towards = np.cos(light), np.sin(light)
  slope = np.gradient(relief)
  shade = 1 + RELIEF * radius * (slope[0] * towards[0] + slope[1] * towards[1])
  colour = (base + mix[..., None] * (second - base)) * shade[..., None]
  shadow = ndimage.shift(
      relief, 0.12 * radius * np.array(towards), order=1, mode='nearest')
  patch = canvas[window]
  patch *= 1 - SHADOW * shadow[..., None]
  patch += cover[..., None] * (colour - patch)
  return window, cover


def _rotation(angle):
  return np.array([[np.cos(angle), np.sin(angle)],
                   [-np.sin(angle), np.cos(angle)]], np.float32)


def simulate_pseudo_label(rng, ground_truth):
  """Makes a dense label with the kinds of errors of class activation maps.

  Blobs bleed over the border, miss parts, swap classes of the image, and lose
  small objects.

  Args:
    rng: np.random.Generator.
    ground_truth: [H, W] uint8 classes; 0 is background.

  Returns:
    [H, W] uint8 classes, without 255.
  """
  present = [label for label in np.unique(ground_truth) if 0 < label < 255]
  pseudo_label = np.zeros_like(ground_truth)
  strongest = np.zeros(ground_truth.shape, np.float32)
  for label in present:
    parts, count = ndimage.label(ground_truth == label)
    for part in range(1, count + 1):
      region = parts == part
      small = region.mean() < SMALL_AREA
      if small and rng.random() < LOST_PROBABILITY:
        continue
      name = label
      if len(present) > 1 and rng.random() < CONFUSED_PROBABILITY:
        name = rng.choice([other for other in present if other != label])
      activation = _activation(rng, region)
      lit = activation > np.maximum(strongest, 0)
      pseudo_label[lit] = name
      strongest[lit] = activation[lit]
  return pseudo_label


def _activation(rng, region):
  """Returns [H, W] float32, positive where a region's blob is."""
  height, width = region.shape
  coarse = [max(1, width // ACTIVATION_STRIDE),
            max(1, height // ACTIVATION_STRIDE)]
  shrunk = Image.fromarray(np.uint8(255 * region)).resize(
      coarse, Image.Resampling.BOX)
  cover = np.asarray(shrunk, np.float32) / 255
  extent = np.sqrt(region.sum()) / ACTIVATION_STRIDE
  score = ndimage.gaussian_filter(
      cover, extent * rng.uniform(*ACTIVATION_BLUR), mode='nearest')
  noise = ndimage.gaussian_filter(
      rng.standard_normal(cover.shape, np.float32), 2)
  score *= 1 + ACTIVATION_NOISE * noise / noise.std()
  if rng.random() < PARTIAL_PROBABILITY:
    rows, columns = np.nonzero(cover > 0.5 * cover.max())
    focus = rng.integers(len(rows))
    grid = np.mgrid[:cover.shape[0], :cover.shape[1]]
    distance = np.hypot(grid[0] - rows[focus], grid[1] - columns[focus])
    spread = extent * rng.uniform(*PARTIAL_SPREAD)
    score *= np.exp(-0.5 * (distance / spread)**2)
  score = score / score.max() - rng.uniform(*ACTIVATION_THRESHOLD)
  return np.asarray(Image.fromarray(score.astype(np.float32)).resize(
      [width, height], Image.Resampling.BILINEAR))
