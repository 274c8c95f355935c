"""The TFRecord format: one record of a file by where it lies, or all.

A record is its content's length, that number's checksum, the content, and the
content's checksum. Checksums are CRC-32C, masked as the format wants it.
"""

import io
import struct

import google_crc32c

_HEADER = struct.Struct('<QI')  # Length and its checksum.
_LENGTH_BYTES = 8
_FOOTER = struct.Struct('<I')
OVERHEAD = _HEADER.size + _FOOTER.size  # Bytes a record beside its content.


class DamagedError(Exception):
  """Says what is wrong with a record or a file of them."""


def checksum(content):
  """Returns the masked CRC-32C of bytes."""
  crc = google_crc32c.value(content)
  return ((crc >> 15 | crc << 17) + 0xa282ead8) & 0xffffffff


def read(file, begin, end):
  """Returns the content of a record.

  Args:
    file: Open for reading bytes.
    begin: Where the record begins in the file, in bytes.
    end: Where it ends.

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
  """Returns what follows a header, behind which the file stands."""
  content = file.read(size)  # By itself: a slice would be a slow copy.
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
