"""Reads, degrades and simulates scribbles, points and boxes.

Training uses this library; its command is the package `scribbles`.
"""
