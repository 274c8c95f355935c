"""The command that makes, reads, spoils, measures and checks scribbles.

What it does to a single scribble is in the package `weak_labels`.
"""
