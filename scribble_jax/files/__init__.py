"""Users' files, on disks and in buckets: found, read, and written whole."""
