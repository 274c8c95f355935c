"""The TFRecord format: where records lie in a file, and what one holds.

A record is its content's length, that number's checksum, the content, and the
content's checksum. Checksums are CRC-32C, masked as the format wants it.
"""

import os
import struct

import google_crc32c
import numpy as np

_HEADER = struct.Struct('<QI')  # Length and its checksum.
_LENGTH_BYTES = 8
_FOOTER = struct.Struct('<I')


class DamagedError(Exception):
  """Says what is wrong with a record or a file of them."""


def checksum(content):
  """Returns the masked CRC-32C of bytes."""
  crc = google_crc32c.value(content)
  return ((crc >> 15 | crc << 17) + 0xa282ead8) & 0xffffffff


def ends(file):
  """Finds the records of a file, reading their headers alone.

  Args:
    file: Open for reading bytes; may be any that can seek.

  Returns:
    [N] int64, where each record ends in the file, in bytes; each begins where
    the one before ends.

  Raises:
    DamagedError: A header is wrong, or the file ends within a record.
  """
  file.seek(0, os.SEEK_END)
  size = file.tell()  # A bucket's files don't say it on seeking.
  position, found = 0, []
  while position < size:
    file.seek(position)
    header = file.read(_HEADER.size)
    if len(header) < _HEADER.size:
      raise DamagedError('ends within a record')
    position += _HEADER.size + _length(header) + _FOOTER.size
    found.append(position)
  if position > size:
    raise DamagedError('ends within a record')
  return np.array(found, np.int64)


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
  size = end - begin - _HEADER.size - _FOOTER.size
  if len(header) < _HEADER.size or _length(header) != size:
    raise DamagedError('has another length, or is missing')
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
