"""Finds and reads users' files, on disks and in buckets, and writes files."""
