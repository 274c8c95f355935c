"""Seeded mutations of valid files: of their bytes, and of what they say.

Every function takes a NumPy generator and returns another content. Mutations of
bytes break a format; those of chunks, tags, elements and entries keep it whole
around a wrong value, which is what the code behind the parser sees.
"""

import copy
import io
import json
import re
import struct
import warnings
from xml.etree import ElementTree
import zipfile
import zlib

_MOST_BYTES = 2**20  # Of an input, but for zips that hold more.
_NUMBERS = (0, 1, 2, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1,
            2**63 - 1, 2**64 - 1)
_TEXTS = (
    '', ' ', '-1', '0', '1e999', '-1e308', 'nan', 'inf', '1_0', '0x10', '٣',
    '9' * 400, '9' * 5_000, '-' + '9' * 40, '1.5', '1\n2', 'a\tb', '\u2028',
    'é', 'e\u0301', '\U0001f600', '\u202ex', '../..', '/', 'C:\\x', 'x' * 5_000,
    '%s{}', 'true', 'None', '\ufeff', '\x7f')
_VALUES = (
    None, True, False, 0, -1, 1.5, 2**31, 2**64, -10**400, 1e308, float('nan'),
    float('inf'), '', 'x', '3', '\ud800', '\0', 'a\nb', [], {}, [[]], [None],
    {'': 0}, [1, 2, 3], 'x' * 5_000)


def choose(rng, choices):
  """Returns one of several things, of whatever type."""
  return choices[int(rng.integers(len(choices)))]


def _place(rng, size):
  """Returns a place among `size` ones, half of the time near the beginning."""
  return int(rng.integers(max(1, min(size, 64) if rng.random() < 0.5
                              else size)))


def _span(rng, size):
  """Returns the ends of a part, a short one more often than a long one."""
  start = _place(rng, size)
  return start, min(size, start + 1 + int(rng.integers(4)
                                          ** int(rng.integers(1, 8))))


def _flip_bits(rng, content):
  for _ in range(int(rng.integers(1, 9))):
    place = _place(rng, len(content))
    content[place:place + 1] = bytes(
        value ^ 1 << int(rng.integers(8)) for value in content[place:place + 1])


def _cut_end(rng, content):
  del content[_place(rng, len(content)):]


def _cut_part(rng, content):
  start, stop = _span(rng, len(content))
  del content[start:stop]


def _insert(rng, content):
  place = _place(rng, len(content))
  content[place:place] = rng.bytes(int(rng.integers(1, 40)))


def _overwrite(rng, content):
  start, stop = _span(rng, len(content))
  content[start:stop] = rng.bytes(stop - start)


def _repeat(rng, content):
  start, stop = _span(rng, len(content))
  times = min(int(10 ** rng.uniform(0, 5)),
              max(1, _MOST_BYTES // (stop - start or 1)))
  content[stop:stop] = content[start:stop] * times


def _swap(rng, content):
  first, second = sorted(_place(rng, len(content)) for _ in range(2))
  size = int(rng.integers(1, 40))
  content[:] = (content[:first] + content[second:second + size]
                + content[first + size:second] + content[first:first + size]
                + content[second + size:])


def _write_number(rng, content):
  """Sets what may be a length, in either byte order."""
  kind = choose(rng, ('<H', '>H', '<I', '>I', '<Q', '>Q'))
  size = struct.calcsize(kind)
  place = _place(rng, len(content))
  content[place:place + size] = struct.pack(
      kind, choose(rng, _NUMBERS) % 2**(8 * size))


def _empty(rng, content):
  del rng, content[:]


_OF_BYTES = (_flip_bits, _flip_bits, _cut_end, _cut_part, _insert, _overwrite,
             _repeat, _swap, _write_number, _write_number)


def of_bytes(rng, content):
  """Mutates bytes, whatever they mean."""
  content = bytearray(content)
  for _ in range(int(rng.integers(1, 4))):
    choose(rng, _OF_BYTES if rng.random() > 0.005 else (_empty,))(rng, content)
  return bytes(content)


# Pictures


def of_picture(rng, content):
  """Mutates parts of a picture's file, or its bytes."""
  if rng.random() < 0.4:
    return of_bytes(rng, content)
  if content.startswith(b'\x89PNG'):
    return _of_png(rng, content)
  if content[:2] in (b'II', b'MM'):
    return _of_tiff(rng, content)
  if content.startswith(b'\xff\xd8'):
    return _of_jpeg(rng, content)
  return of_bytes(rng, content)


def _of_parts(rng, parts, change):
  """Mutates a list: changes, removes, repeats or moves some of its items."""
  for _ in range(int(rng.integers(1, 4))):
    if not parts:
      break
    place = int(rng.integers(len(parts)))
    action = rng.random()
    if action < 0.6:
      parts[place] = change(parts[place])
    elif action < 0.75:
      del parts[place]
    elif action < 0.9:
      parts[place:place] = [parts[place]] * int(rng.integers(1, 30))
    else:
      parts.insert(int(rng.integers(len(parts))), parts.pop(place))


def _of_png(rng, content):
  """Mutates chunks of a PNG, whose checksums stay right."""
  chunks, place = [], 8
  while place + 12 <= len(content):
    (size,) = struct.unpack_from('>I', content, place)
    chunks.append((content[place + 4:place + 8],
                   content[place + 8:place + 8 + size]))
    place += 12 + size

  def change(chunk):
    kind, data = chunk
    if kind == b'IHDR' and rng.random() < 0.8:
      fields = [*struct.unpack('>2I5B', data.ljust(13, b'\0')[:13])]
      field = int(rng.integers(7))
      fields[field] = (choose(rng, (0, 1, 7, 24, 300, 20_000, 2**31, 2**32 - 1))
                       if field < 2 else choose(rng, (0, 1, 2, 3, 4, 6, 8, 16)))
      return kind, struct.pack('>2I5B', *fields)
    if kind == b'IDAT' and rng.random() < 0.6:
      try:
        return kind, zlib.compress(of_bytes(rng, zlib.decompress(data)))
      except zlib.error:
        return kind, b''
    if rng.random() < 0.1:
      return choose(rng, (b'tRNS', b'PLTE', b'acTL', b'eXIf', b'gAMA', b'zTXt',
                          b'iCCP', b'fcTL', b'IEND', b'xxxx')), data
    return kind, of_bytes(rng, data)

  _of_parts(rng, chunks, change)
  return content[:8] + b''.join(
      struct.pack('>I', len(data)) + kind + data
      + struct.pack('>I', zlib.crc32(kind + data)) for kind, data in chunks)


def _of_tiff(rng, content):
  """Mutates entries of the first directory of a TIFF file."""
  order = '<' if content[:1] == b'I' else '>'
  content = bytearray(content)
  (start,) = struct.unpack_from(f'{order}I', content, 4)
  (count,) = struct.unpack_from(f'{order}H', content, start)
  for _ in range(int(rng.integers(1, 4))):
    place = start + 2 + 12 * int(rng.integers(count))
    tag, kind, number = struct.unpack_from(f'{order}HHI', content, place)
    field = rng.random()
    if field < 0.15:
      tag = choose(rng, (256, 257, 258, 259, 262, 273, 274, 277, 278, 284, 317,
                         320, 322, 338, 339, 34665, 34675))
    elif field < 0.3:
      kind = int(rng.integers(20))
    elif field < 0.45:
      number = choose(rng, _NUMBERS) % 2**32
    else:
      value = choose(rng, (*range(10), 16, 32, 24, 300, *_NUMBERS)) % 2**32
      struct.pack_into(f'{order}I', content, place + 8, value)
      if kind == 3:  # A short number is in the first half.
        struct.pack_into(f'{order}H', content, place + 8, value % 2**16)
    struct.pack_into(f'{order}HHI', content, place, tag, kind, number)
  return bytes(content)


def _of_jpeg(rng, content):
  """Mutates segments of a JPEG file before its data; lengths stay right."""
  segments, place = [], 2
  while content[place:place + 1] == b'\xff':
    marker, size = struct.unpack_from('>xBH', content, place)
    if marker == 0xDA:
      break
    segments.append((marker, content[place + 4:place + 2 + size]))
    place += 2 + size

  def change(segment):
    marker, data = segment
    if 0xC0 <= marker <= 0xC2 and rng.random() < 0.6:
      if rng.random() < 0.3:
        return int(rng.integers(0xC0, 0xD0)), data
      side = int(rng.integers(2))
      changed = bytearray(data)
      struct.pack_into('>H', changed, 1 + 2 * side, choose(
          rng, (0, 1, 7, 24, 300, 20_000, 65_535)))
      return marker, bytes(changed)
    return marker, of_bytes(rng, data)[:65_000]

  _of_parts(rng, segments, change)
  rest = content[place:]
  if rng.random() < 0.3:
    rest = of_bytes(rng, rest)
  return b'\xff\xd8' + b''.join(
      struct.pack('>BBH', 0xFF, marker, len(data) + 2) + data
      for marker, data in segments) + rest


# Texts


def of_lines(rng, content):
  """Mutates lines of a list, or its bytes."""
  if rng.random() < 0.3:
    return of_bytes(rng, content)
  lines = content.decode('utf-8', 'replace').splitlines()
  _of_parts(rng, lines, lambda line: choose(rng, (
      lambda: choose(rng, _TEXTS), lambda: line + choose(rng, _TEXTS),
      lambda: choose(rng, _TEXTS) + line, lambda: f'"{line}',
      lambda: f'{line}.jpg {line}.png', lambda: f'/a/{line}, /b/{line}',
      line.upper, lambda: line.replace('/', '\\'),
      lambda: f'../{line}', lambda: '/'.join([line[:99]] * 3_000),
      lambda: ' '.join([line[:99]] * int(10 ** rng.uniform(1, 4)))))())
  end = choose(rng, ('\n', '\n', '\n', '\r\n', '\r', ' ', ',', '\n\n'))
  return end.join(lines).encode(choose(rng, (
      'utf-8', 'utf-8', 'utf-8', 'utf-8-sig', 'utf-16', 'utf-32', 'cp1252',
      'utf-7')), 'replace')[:_MOST_BYTES]


def of_xml(rng, content):
  """Mutates elements of XML, or its text."""
  action = rng.random()
  if action < 0.25:
    return of_bytes(rng, content)
  if action < 0.35:
    return _strange_xml(rng, content)
  if b'<a>' * 900 in content:  # Too deep to be written again.
    return of_bytes(rng, content)
  try:
    root = ElementTree.fromstring(content)
  except (ElementTree.ParseError, LookupError, ValueError):
    return of_bytes(rng, content)  # It has been mutated before.
  for _ in range(int(rng.integers(1, 4))):
    element = choose(rng, [*root.iter()])
    action = rng.random()
    if action < 0.5:
      element.text = re.sub('[\0-\x08]', '', choose(rng, _TEXTS))
    elif action < 0.65 and len(element):
      element.remove(choose(rng, [*element]))
    elif action < 0.8 and len(element):
      child = choose(rng, [*element])
      element.extend(copy.deepcopy(child)
                     for _ in range(choose(rng, (1, 2, 300))))
    elif action < 0.9:
      element.tag = choose(rng, ('point', 'polygon', 'object', 'size', 'width',
                                 'X', 'name', 'bndbox', 'xmin', 'é'))
    else:
      element.append(copy.deepcopy(choose(rng, [*root.iter()])))
  return ElementTree.tostring(root, choose(rng, (
      'utf-8', 'utf-8', 'utf-16', 'iso-8859-1', 'us-ascii')))


def _strange_xml(rng, content):
  """Returns XML of a kind that is known to trouble programs."""
  text = re.sub(r'<\?.*?\?>', '', content.decode('utf-8', 'replace'))
  laughs = ''.join(f'<!ENTITY a{i + 1} "{f"&a{i};" * 10}">' for i in range(9))
  return choose(rng, (
      lambda: '<a>' * 100_000,
      lambda: '<a>' * 30_000 + text + '</a>' * 30_000,
      lambda: f'<!DOCTYPE x [<!ENTITY a0 "a">{laughs}]><x>&a9;</x>',
      lambda: '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
              + text.replace('cat', '&a;'),
      lambda: f'<!DOCTYPE x [<!ENTITY a "{"9" * 60_000}">]>'
              f'<x>{"&a;" * 3_000}</x>',
      lambda: '<annotation><size><width>40</width><height>20</height></size>'
              + '<x/>' * 200_000 + '</annotation>',
      lambda: f'<?xml version="1.0" encoding="{choose(rng, _ENCODINGS)}"?>'
              + text,
      lambda: text.replace('<annotation', '<annotation xmlns="x"', 1),
      lambda: f'<polygon>{text}</polygon>',
      lambda: re.sub(r'>[^<>]*\d[^<>]*<', lambda _: (
          f'>{choose(rng, _TEXTS)}<'), text)))().encode('utf-8', 'replace')


_ENCODINGS = ('utf-16', 'utf-32', 'utf-7', 'idna', 'cp037', 'rot13', 'hex',
              'undefined', 'nonsense', 'unicode_escape', 'big5', 'utf-8-sig')


def of_json(rng, content):
  """Mutates values of JSON, or its text."""
  action = rng.random()
  if action < 0.25:
    return of_bytes(rng, content)
  if action < 0.3:
    depth = choose(rng, (900, 5_000, 100_000))
    inner = content.decode('utf-8', 'replace')
    return choose(rng, ('[' * depth, '{"a":' * depth, (
        '[' * depth + inner + ']' * depth))).encode()
  value = json.loads(content)
  for _ in range(int(rng.integers(1, 4))):
    value = _with_changed_value(rng, value)
  text = json.dumps(value, ensure_ascii=bool(rng.integers(2)))
  if rng.random() < 0.1:  # A key twice.
    text = re.sub(r'\{("[^"]*"): ', r'{\1: 0, \1: ', text,
                  count=int(rng.integers(1, 4)))
  return text.encode(choose(rng, ('utf-8', 'utf-8', 'utf-8', 'utf-8-sig',
                                  'utf-16')), 'surrogatepass')


def _with_changed_value(rng, value):
  """Returns a JSON value with something in it replaced, removed or added."""
  if isinstance(value, dict | list) and value and rng.random() < 0.85:
    keys = [*value] if isinstance(value, dict) else range(len(value))
    key = choose(rng, keys)
    action = rng.random()
    if action < 0.7:
      value[key] = _with_changed_value(rng, value[key])
    elif action < 0.8:
      del value[key]
    elif isinstance(value, dict):
      value[choose(rng, ('', 'x', '../a', 'a\nb', 'é', '\ud800', 'a.b',
                         key.upper(), key * 1_000))] = value[key]
    else:
      value.extend([value[key]] * choose(rng, (1, 2, 300)))
    return value
  return copy.deepcopy(choose(rng, _VALUES))


# Archives and tensors


_BLOCK = 2**20
_MEMBERS = ('', '/', '../a.xml', '/a.xml', 'a\\b.xml', 'C:\\a.xml', '.xml',
            '__MACOSX/._a.xml', 'a.XML', 'x/' * 3_000 + 'a.xml', 'a\nb.xml',
            'a.xml/', 'é.xml', 'e\u0301.xml', '..xml', 'a.png')


def of_zip(rng, content):
  """Mutates entries of a zip file, or its bytes."""
  action = rng.random()
  if action < 0.3:
    return of_bytes(rng, content)
  if action < 0.34:
    return bomb(*choose(rng, ((1, 1_024), (200, 20), (3, 4_000))),
                 lies=rng.random() < 0.4)
  with zipfile.ZipFile(io.BytesIO(content)) as archive:
    entries = [(item.filename, archive.read(item)) for item in
               archive.infolist()]

  def change(entry):
    name, data = entry
    if rng.random() < 0.5:
      return choose(rng, _MEMBERS), data
    return name, of_xml(rng, data)

  _of_parts(rng, entries, change)
  made = io.BytesIO()
  method = choose(rng, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED,
                        zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
  with (zipfile.ZipFile(made, 'w', method) as archive,
        warnings.catch_warnings()):
    warnings.simplefilter('ignore')  # Of names that are there twice.
    for name, data in entries:
      archive.writestr(zipfile.ZipInfo(name), data, method)
  made = made.getvalue()
  return _of_directory(rng, made) if rng.random() < 0.4 else made


def _of_directory(rng, content):
  """Sets fields of the directory at the end of a zip file."""
  content = bytearray(content)
  starts = [match.start() for match in re.finditer(b'PK\x01\x02', content)]
  for start in starts[:int(rng.integers(1, 4))]:
    place, kind = choose(rng, (
        (8, '<H'), (10, '<H'), (16, '<I'), (20, '<I'), (24, '<I'), (28, '<H'),
        (30, '<H'), (32, '<H'), (42, '<I')))
    value = choose(rng, (0, 1, 8, 0x800, 0x841, 9, 12, 14, 93, *_NUMBERS))
    struct.pack_into(kind, content, start + place,
                     value % 2**(8 * struct.calcsize(kind)))
  return bytes(content)


def bomb(count, blocks, lies):
  """Returns a small zip with `count` files of `blocks` MiB of one blank.

  Args:
    count: Of entries, which share their data.
    blocks: MiB of each.
    lies: Whether the directory says 100 bytes.
  """
  deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
  head = deflate.compress(b'<a>') + deflate.flush(zlib.Z_FULL_FLUSH)
  block = (deflate.compress(b' ' * _BLOCK)
           + deflate.flush(zlib.Z_FULL_FLUSH))
  data = head + block * blocks + deflate.flush()
  sizes = len(data), min(2**32 - 1, 100 if lies else 3 + blocks * _BLOCK)
  local = struct.pack('<4s5H3I2H', b'PK\x03\x04', 20, 0, 8, 0, 33, 0, *sizes,
                      5, 0) + b'a.xml'
  directory = b''.join(
      struct.pack('<4s6H3I5H2I', b'PK\x01\x02', 20, 20, 0, 8, 0, 33, 0, *sizes,
                  len(name), 0, 0, 0, 0, 0, 0) + name
      for name in [b'a.xml'] * count)
  end = struct.pack('<4s4H2IH', b'PK\x05\x06', 0, 0, count, count,
                    len(directory), len(local) + len(data), 0)
  return local + data + directory + end


_DTYPES = ('F64', 'F32', 'F16', 'BF16', 'F8_E4M3', 'F8_E5M2', 'F4', 'F8_E8M0',
           'I64', 'I32', 'I8', 'U16', 'U64', 'BOOL', 'C64', 'X', '')


def of_safetensors(rng, content):
  """Mutates the header of a safetensors file, or its bytes."""
  if rng.random() < 0.3:
    return of_bytes(rng, content)
  (size,) = struct.unpack_from('<Q', content)
  header, data = content[8:8 + size], content[8 + size:]
  action = rng.random()
  if action < 0.3:
    header = of_json(rng, header)
  elif action < 0.8:
    entries = json.loads(header)
    for _ in range(int(rng.integers(1, 3))):
      _change_tensor(rng, choose(rng, [*entries.values()]))
    header = json.dumps(entries).encode()
  else:
    data = of_bytes(rng, data)
  return struct.pack('<Q', len(header)) + header + data


def _change_tensor(rng, entry):
  """Changes an entry of the header in place."""
  if 'shape' not in entry:  # It is no tensor.
    return
  action = rng.random()
  if action < 0.35:
    entry['dtype'] = choose(rng, _DTYPES)
  elif action < 0.7:
    shape = entry['shape']
    place = int(rng.integers(len(shape) + 1))
    entry['shape'] = choose(rng, (
        shape[:place], [*shape, 1], [*shape, 0], [*shape[:place], 0, 2**40],
        [*shape[:place], choose(rng, _NUMBERS), *shape[place + 1:]],
        [1] * 70, [0] * 3, shape[::-1], [-1]))
    if rng.random() < 0.5:  # No data then.
      entry['data_offsets'] = [0, 0]
  else:
    place = int(rng.integers(2))
    entry['data_offsets'][place] = int(choose(rng, (
        0, 1, 2**20, 2**63, entry['data_offsets'][place] + 4)))
