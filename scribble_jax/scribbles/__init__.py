"""The command that simulates, converts, degrades and checks scribbles.

The functions on single scribbles are in the package `weak_labels`.
"""
