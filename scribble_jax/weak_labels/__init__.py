"""Scribbles, points and boxes: read, degraded and simulated.

The library that training uses; its command is the package `scribbles`.
"""
