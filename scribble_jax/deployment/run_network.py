"""Predicts a photograph with an exported network, window by window.

python run_network.py NETWORK PHOTOGRAPH MASK.png

Needs NumPy, Pillow, and onnxruntime (for .onnx) or jax (for .stablehlo). The
pixels of MASK.png are class indices.
"""

import sys

import numpy as np
from PIL import Image
from PIL import ImageOps

if len(sys.argv) != 4:
  sys.exit(__doc__)
network, photograph, mask = sys.argv[1:]
if network.endswith('.onnx'):
  import onnxruntime
  session = onnxruntime.InferenceSession(network)
  run = lambda pixels: session.run(None, {'pixels': pixels})[0]
  shape = session.get_outputs()[0].shape
else:
  import jax
  with open(network, 'rb') as file:
    exported = jax.export.deserialize(bytearray(file.read()))
  run, shape = jax.jit(exported.call), exported.out_avals[0].shape
window, num_classes = shape[2:]

with Image.open(photograph) as image:
  image = np.asarray(ImageOps.exif_transpose(image).convert('RGB'))
before = [max(window - side, 0) // 2 for side in image.shape[:2]]
place = tuple(slice(start, start + side)
              for start, side in zip(before, image.shape[:2], strict=True))
padded = np.full([*np.maximum(image.shape[:2], window), 3], np.float32(
    [123.675, 116.28, 103.53]))  # ImageNet's mean colour, as in training.
padded[place] = image
rows, columns = ([*range(0, side - window, -(-2 * window // 3)), side - window]
                 for side in padded.shape[:2])
sums = np.zeros([*padded.shape[:2], num_classes], np.float32)
for row in rows:
  for column in columns:
    part = slice(row, row + window), slice(column, column + window)
    sums[part] += np.asarray(run(padded[part][None]))[0]
Image.fromarray(np.argmax(sums[place], -1).astype(np.uint8)).save(mask)
