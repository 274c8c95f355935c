"""Annotations of other programs, read into our layout and written back."""
