"""Draws the images of the demo: sea-bed scenes from random numbers.

Striped fish, spotted shells and checked starfish lie among pebbles and weed.
Colours carry no information about the class. Pebbles, which are background,
have the same relief and sometimes the same textures as the objects.
Each image depends on (seed, split, index) alone.
"""

import math

import numpy as np
from PIL import Image
from PIL import ImageDraw
from PIL import ImageFilter

TEXTURES = ('striped', 'spotted', 'checked')
CLASS_NAMES = ('background', 'striped_fish', 'spotted_shell', 'checked_star')

SUPERSAMPLING = 3  # Outlines are drawn larger and averaged, for soft edges.
# Lengths are shares of the image side unless said otherwise.
# One to three objects of these radii cover a third of an image, as in VOC.
OBJECT_COUNT_PROBABILITIES = (0.3, 0.4, 0.3)
OBJECT_RADIUS = (0.19, 0.36)
TILT = 0.7  # Radians: fish swim nearly level, in either direction.
# Pebbles have the colours and relief of objects, and some have their textures,
# so none of these alone means foreground.
PEBBLE_COUNT, PEBBLE_RADIUS, PEBBLE_TEXTURED = (1, 4), (0.05, 0.14), 0.1
WEED_COUNT, WEED_WIDTH = (1, 5), (0.012, 0.04)
# 12 to 17 pixels at 128. At 7 to 10, and fainter, a stride-8 network told
# textures apart no better than by chance after 10,000 crops.
TEXTURE_PERIOD = (0.09, 0.13)
TEXTURE_STRENGTH = (0.9, 1.0)
# Texture fades towards the border over this share of the radius, so that the
# pixels of a stroke in the middle do not determine where the object ends.
TEXTURE_FADE = 0.3
# Least RGB distance (0..1) between an object's two colours, to show texture.
COLOUR_CONTRAST = 0.6
# Strength of a texture that spreads over the whole background.
BACKGROUND_TEXTURE = (0.0, 0.15)
BACKGROUND_NOISE = 0.08
RELIEF, SHADOW, SHADOW_REACH = 0.1, 0.4, 0.12  # Reach in radii.
SENSOR_NOISE = (0.005, 0.02)


def draw_scene(rng, size):
  """Draws one scene.

  Args:
    rng: np.random.Generator.
    size: Height and width in pixels.

  Returns:
    [H, W, 3] uint8 RGB image, [H, W] uint8 indices into CLASS_NAMES.
  """
  palette = _palette(rng)
  light = rng.uniform(0, 2 * np.pi)
  canvas = _sea_bed(rng, size, palette)
  for _ in range(rng.integers(*PEBBLE_COUNT, endpoint=True)):
    textured = rng.random() < PEBBLE_TEXTURED
    _paint(rng, canvas, rng.uniform(0, size, 2),
           size * rng.uniform(*PEBBLE_RADIUS), 'pebble',
           rng.choice(TEXTURES) if textured else 'plain', palette, light)
  ground_truth = np.zeros([size, size], np.uint8)
  for centre, radius in _places(rng, size):
    label = rng.integers(1, len(CLASS_NAMES))
    texture, outline = CLASS_NAMES[label].split('_')
    window, cover = _paint(rng, canvas, centre, radius, outline, texture,
                           palette, light)
    ground_truth[window][cover >= 0.5] = label
  noise = rng.standard_normal(canvas.shape, np.float32)
  canvas += rng.uniform(*SENSOR_NOISE) * noise
  return np.uint8(np.clip(255 * canvas, 0, 255)), ground_truth


def _places(rng, size):
  """Returns pairs of centre and radius in pixels; objects overlap in part."""
  places = []
  for _ in range(1 + rng.choice(3, p=OBJECT_COUNT_PROBABILITIES)):
    radius = size * rng.uniform(*OBJECT_RADIUS)
    candidates = rng.uniform(0.2 * size, 0.8 * size, [4, 2])
    gaps = [min((np.hypot(*(candidate - centre)) - radius - other
                 for centre, other in places), default=0)
            for candidate in candidates]
    places.append((candidates[np.argmax(gaps)], radius))
  return places


def _palette(rng):
  """Returns [6, 3] float32 RGB in 0..1: the colours of one scene."""
  # Two groups of neighbouring hues, for harmonious scenes.
  hues = rng.uniform() + np.array([0, 0.06, 0.15, 0.45, 0.52, 0.65])
  saturation, value = rng.uniform(0.2, 0.75, 6), rng.uniform(0.3, 1, 6)
  sector = (6 * hues[:, None] + [5, 3, 1]) % 6  # HSV to RGB.
  chroma = np.clip(np.minimum(sector, 4 - sector), 0, 1)
  return np.float32(value[:, None] * (1 - saturation[:, None] * chroma))


def _colour_pair(rng, palette):
  """Picks two colours of the scene, COLOUR_CONTRAST apart if possible."""
  for _ in range(20):
    first, second = rng.choice(palette, 2, replace=False)
    if np.linalg.norm(first - second) >= COLOUR_CONTRAST:
      break
  return first, second


def _noise(rng, size, cells):
  """Returns [size, size] float32 smooth noise of about unit variance."""
  grid = Image.fromarray(rng.standard_normal([cells, cells], np.float32))
  return np.asarray(grid.resize([size, size], Image.Resampling.BICUBIC))


def _sea_bed(rng, size, palette):
  """Returns a [size, size, 3] float32 background: sand, ripples and weed."""
  first, second = rng.choice(palette, 2, replace=False)
  rows, columns = np.mgrid[:size, :size].astype(np.float32)
  along, _ = _rotation(rng.uniform(0, 2 * np.pi)) / size
  slope = along[0] * rows + along[1] * columns
  texture = _texture(rng, rng.choice(TEXTURES), rows, columns, size)
  blend = 0.5 + 0.6 * (slope - slope.mean()) + 0.25 * _noise(rng, size, 5)
  blend += rng.uniform(*BACKGROUND_TEXTURE) * (texture - 0.5)
  canvas = first + np.clip(blend, 0, 1)[..., None] * (second - first)
  grain = sum(_noise(rng, size, cells) for cells in (12, 32, size // 2))
  canvas += BACKGROUND_NOISE / 3**0.5 * grain[..., None]
  layer = Image.fromarray(np.uint8(np.clip(255 * canvas, 0, 255)))
  side = SUPERSAMPLING * size
  layer = layer.resize([side, side], Image.Resampling.NEAREST)
  pen = ImageDraw.Draw(layer)
  for _ in range(rng.integers(*WEED_COUNT, endpoint=True)):
    colour = tuple(np.uint8(255 * rng.choice(palette)).tolist())
    turns = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.25, 16))
    steps = side / 18 * np.stack([np.cos(turns), np.sin(turns)], 1)
    points = rng.uniform(0, side, 2) + np.cumsum(steps, 0)
    width = int(side * rng.uniform(*WEED_WIDTH))
    pen.line(points.ravel().tolist(), colour, width)
  return np.asarray(layer.reduce(SUPERSAMPLING), np.float32) / 255


def _texture(rng, kind, x, y, size):
  """Returns a float32 pattern in 0..1 at coordinates x, y in pixels."""
  if kind == 'plain':
    return np.zeros_like(x)
  wave = 2 * np.pi / (size * rng.uniform(*TEXTURE_PERIOD))
  x, y = wave * x + rng.uniform(0, 6), wave * y + rng.uniform(0, 6)
  if kind == 'striped':
    # The slow wave bends the stripes.
    pattern = np.sin(x + 0.6 * np.sin(0.3 * y))
  elif kind == 'checked':
    pattern = 2 * np.sin(0.6 * x) * np.sin(0.6 * y)
  else:
    pattern = np.cos(x) + np.cos(y) - 0.9
  return np.clip(0.5 + 1.5 * pattern, 0, 1)


def _outline(rng, kind):
  """Returns [N, 2] points of a closed outline of about unit radius."""
  if kind == 'fish':
    angle = np.linspace(-2.7, 2.7, 28)
    body = np.stack([0.2 + 0.8 * np.cos(angle), 0.6 * np.sin(angle)], 1)
    flare = rng.uniform(0.4, 0.6)
    return np.concatenate([body, [(-1, flare), (-0.82, 0), (-1, -flare)]])
  if kind == 'shell':  # A scalloped rim about the middle, and a hinge.
    angle = np.linspace(-1.75, 1.75, 56)
    radius = 0.87 + 0.12 * np.abs(np.sin(angle * 6 * np.pi / 3.5))
    rim = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)
    return np.concatenate([rim, [(-0.72, 0.3), (-0.95, 0.3), (-0.95, -0.3),
                                 (-0.72, -0.3)]])
  angle = np.linspace(0, 2 * np.pi, 60, False)
  if kind == 'star':
    inner = rng.uniform(0.5, 0.6)
    radius = inner + (1.1 - inner) * (0.5 + 0.5 * np.cos(5 * angle))**1.3
  else:
    phases = rng.uniform(0, 2 * np.pi, 3)
    radius = 0.9 + sum(0.1 * np.sin(order * angle + phase)
                       for order, phase in enumerate(phases, 1))
  return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)


def _paint(rng, canvas, centre, radius, outline, texture, palette, light):
  """Paints an object or pebble onto the canvas, in place.

  Args:
    rng: np.random.Generator.
    canvas: [H, W, 3] float32 RGB in 0..1.
    centre: [2] (row, column) in pixels.
    radius: Radius in pixels.
    outline: 'fish', 'star', 'shell' or 'pebble'.
    texture: One of TEXTURES or 'plain'.
    palette: [N, 3] float32 RGB in 0..1.
    light: Direction in which light travels, in radians.

  Returns:
    The window that was painted, two slices, and an [h, w] float32: the share
    of each of its pixels that lies inside the outline.
  """
  centre = np.float32(centre)  # Float64 would make all arrays float64.
  window = tuple(slice(max(0, int(middle - 1.4 * radius)),
                       min(len(canvas), int(middle + 1.4 * radius) + 1))
                 for middle in centre)
  rows, columns = np.mgrid[window].astype(np.float32)
  angle = np.pi * rng.integers(2) + np.pi / 2 + rng.uniform(-TILT, TILT)
  stretch = rng.uniform(0.85, 1.15)
  points = radius * _outline(rng, outline) * [stretch, 1 / stretch]
  points = points @ _rotation(angle) + centre - [rows[0, 0], columns[0, 0]]
  shape = _fill(points, rows.shape)
  blurred = shape.filter(ImageFilter.GaussianBlur(TEXTURE_FADE * radius / 2))
  down, right = radius * math.cos(light), radius * math.sin(light)
  fallen = blurred.transform(
      blurred.size, Image.Transform.AFFINE,
      (1, 0, -SHADOW_REACH * right, 0, 1, -SHADOW_REACH * down))
  cover, relief, shadow = (np.asarray(layer, np.float32) / 255
                           for layer in (shape, blurred, fallen))
  along, across = _rotation(angle + rng.normal(0, 0.25))
  rows, columns = rows - centre[0], columns - centre[1]
  mix = _texture(rng, texture, along[0] * rows + along[1] * columns,
                 across[0] * rows + across[1] * columns, len(canvas))
  # The blurred cover is 1/2 on the border.
  mix *= rng.uniform(*TEXTURE_STRENGTH) * np.clip(2 * relief - 1, 0, 1)
  base, second = _colour_pair(rng, palette)
  # The blurred cover is also the height map of the relief, lit from one side.
  slope = np.gradient(relief)
  shade = 1 + RELIEF * (down * slope[0] + right * slope[1])
  colour = (base + mix[..., None] * (second - base)) * shade[..., None]
  patch = canvas[window]
  patch *= 1 - SHADOW * shadow[..., None]
  patch += cover[..., None] * (colour - patch)
  return window, cover


def _fill(points, shape):
  """Returns an 8-bit Pillow image of `shape`, 255 inside [N, 2] points."""
  height, width = shape
  layer = Image.new('L', (SUPERSAMPLING * width, SUPERSAMPLING * height))
  ImageDraw.Draw(layer).polygon(
      (SUPERSAMPLING * points[:, ::-1]).ravel().tolist(), 255)
  return layer.reduce(SUPERSAMPLING)


def _rotation(angle):
  return np.array([[np.cos(angle), np.sin(angle)],
                   [-np.sin(angle), np.cos(angle)]], np.float32)
