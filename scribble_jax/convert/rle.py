"""Run-length encodings of masks: COCO's two, CVAT's and Label Studio's."""

import numpy as np

_SIZES = 3, 4, 8, 16  # Bits of a length, as Label Studio itself writes them.
_CHANNELS = 4  # Label Studio stores RGBA; only alpha is used.


def decode_counts(counts, num_pixels):
  """Returns the [num_pixels] bool of lengths of runs, unset ones first.

  Args:
    counts: Lengths of alternating runs of unset and set pixels.
    num_pixels: Expected sum of the lengths.

  Raises:
    ValueError: The sum differs, or a length is not a whole number.
  """
  try:
    counts = np.asarray(counts, np.int64).reshape(-1)
  except (TypeError, ValueError, OverflowError):
    raise ValueError('has run lengths that are no integers') from None
  if ((counts < 0) | (counts > num_pixels)).any() or counts.sum() != num_pixels:
    raise ValueError(f'has run lengths that do not add up to {num_pixels} '
                     'pixels')
  return np.repeat(np.arange(len(counts)) % 2 == 1, counts)


def encode_counts(pixels):
  """Returns the list of run lengths of [N] bool; inverts `decode_counts`."""
  ends = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
  counts = np.diff(ends, prepend=0, append=len(pixels)).tolist()
  return [0, *counts] if pixels[0] else counts


def decode_text(text):
  """Returns the run lengths in COCO's compressed form, an int64 array.

  A character holds 5 bits of a length, the least significant first, and a flag
  that more follow; the highest of the last 5 bits is the sign. From the fourth
  on, a length is stored as the difference to the length two places before.

  Raises:
    ValueError: The text is damaged.
  """
  codes = np.frombuffer(text.encode('utf-8', 'replace'), np.uint8)
  codes = codes.astype(np.int64) - 48
  ends = np.flatnonzero(codes < 32)
  if not len(ends) or ends[-1] != len(codes) - 1 or (
      (codes < 0) | (codes > 63)).any():
    raise ValueError('has a compressed run-length text that is damaged')
  starts = np.concatenate([[0], ends[:-1] + 1])
  lengths = ends - starts + 1
  if lengths.max() > 7:  # 35 bits.
    raise ValueError('has a compressed run length that is too large')
  place = np.arange(len(codes)) - np.repeat(starts, lengths)
  counts = np.add.reduceat((codes & 31) << 5 * place, starts)
  counts -= np.where(codes[ends] & 16, 1 << 5 * lengths, 0)
  counts[1::2] = np.cumsum(counts[1::2])
  counts[2::2] = np.cumsum(counts[2::2])
  return counts


def encode_text(counts):
  """Returns COCO's compressed form of a list of run lengths."""
  codes = []
  for number, value in enumerate(counts):
    value -= counts[number - 2] if number > 2 else 0
    more = True
    while more:
      bits, value = value & 31, value >> 5
      more = value != (-1 if bits & 16 else 0)
      codes.append(48 + bits + 32 * more)
  return bytes(codes).decode()


def decode_brush(content, num_pixels):
  """Returns the [num_pixels] bool mask of a brush of Label Studio.

  The bytes are a stream of big-endian numbers. It begins with the number of
  values, RGBA (32 bits), the bits per value less 1 (5 bits), and four possible
  bits per length less 1 (4 bits each). Runs follow, each with: whether one
  value is repeated (1 bit), which of the four lengths is used (2 bits), the
  length less 1, and one value or as many values as the length says.

  Args:
    content: List of bytes.
    num_pixels: Number of pixels of the picture.

  Raises:
    ValueError: The stream is damaged or of another size.
  """
  try:
    content = np.asarray(content, np.uint8).reshape(-1)
  except (TypeError, ValueError, OverflowError):
    raise ValueError('has a brush that is no list of bytes') from None
  bits, place = np.unpackbits(content), 0
  alpha = np.zeros(num_pixels, bool)

  def take(count):
    nonlocal place
    if place + count > len(bits):
      raise ValueError('has a brush that ends early')
    place += count
    return bits[place - count:place]

  read = lambda count: int.from_bytes(np.packbits(take(count)).tobytes(), 'big'
                                      ) >> -count % 8
  count, word = read(32), read(5) + 1
  sizes = [read(4) + 1 for _ in range(4)]
  if count != _CHANNELS * num_pixels or word != 8:
    raise ValueError(f'has a brush of {count} values, {word} bits each, instead'
                     f' of {_CHANNELS * num_pixels} of 8 bits')
  start = 0
  while start < count:
    is_repeated = read(1)
    stop = start + 1 + read(sizes[read(2)])
    if stop > count:
      raise ValueError('has a brush with more values than the picture')
    values = np.packbits(take(8 if is_repeated else 8 * (stop - start)))
    if not is_repeated:
      values = values[(_CHANNELS - 1 - start) % _CHANNELS::_CHANNELS]
    alpha[start // _CHANNELS:stop // _CHANNELS] = values > 0
    start = stop
  return alpha


def encode_brush(pixels):
  """Returns the list of bytes of [N] bool; inverts `decode_brush`."""
  text = [f'{_CHANNELS * len(pixels):032b}{7:05b}',
          *(f'{size - 1:04b}' for size in _SIZES)]
  for number, count in enumerate(encode_counts(pixels)):
    left = _CHANNELS * count
    while left:
      length = min(left, 2 ** _SIZES[-1])
      choice = next(index for index, size in enumerate(_SIZES)
                    if length <= 2 ** size)
      text.append(f'1{choice:02b}{length - 1:0{_SIZES[choice]}b}'
                  f'{255 * (number % 2):08b}')
      left -= length
  bits = np.frombuffer(''.join(text).encode(), np.uint8) - ord('0')
  return np.packbits(bits).tolist()
