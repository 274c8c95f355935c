"""Reads TFRecord files: one record at a given position, or all.

A record consists of the length of its content, the checksum of that length, the
content, and the checksum of the content. Checksums are masked CRC-32C.
"""

import io
import struct

import google_crc32c

_HEADER = struct.Struct('<QI')  # Length and its checksum.
_LENGTH_BYTES = 8
_FOOTER = struct.Struct('<I')
OVERHEAD = _HEADER.size + _FOOTER.size  # Bytes per record besides its content.


class DamagedError(Exception):
  """A record, or a file of records, is damaged."""


def checksum(content):
  """Returns the masked CRC-32C of bytes."""
  crc = google_crc32c.value(content)
  return ((crc >> 15 | crc << 17) + 0xa282ead8) & 0xffffffff


def read(file, begin, end):
  """Returns the content of a record.

  Args:
    file: File that is open for reading bytes.
    begin: Start of the record in the file, in bytes.
    end: End of the record in the file, in bytes.

  Raises:
    DamagedError: A checksum is wrong, or bytes are missing.
  """
  file.seek(begin)
  header = file.read(_HEADER.size)
  size = end - begin - OVERHEAD
  if len(header) < _HEADER.size or _length(header) != size:
    raise DamagedError('has another length, or is missing')
  return _content(file, size)


def read_all(content):
  """Yields the contents of a file's records.

  Args:
    content: Bytes of the file.

  Raises:
    DamagedError: A checksum is wrong, or bytes are missing.
  """
  file = io.BytesIO(content)
  while header := file.read(_HEADER.size):
    if len(header) < _HEADER.size:
      raise DamagedError('ends within a record')
    yield _content(file, _length(header))


def _content(file, size):
  """Returns the content of a record whose header has just been read."""
  content = file.read(size)  # Read without the footer: slicing would copy it.
  footer = file.read(_FOOTER.size)
  if len(footer) < _FOOTER.size:
    raise DamagedError('ends within the record')
  if _FOOTER.unpack(footer)[0] != checksum(content):
    raise DamagedError('has a wrong checksum')
  return content


def _length(header):
  """Returns the content's length in bytes."""
  length, expected = _HEADER.unpack(header)
  if checksum(header[:_LENGTH_BYTES]) != expected:
    raise DamagedError("has a wrong checksum of a record's length")
  return length
