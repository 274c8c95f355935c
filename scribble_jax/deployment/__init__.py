"""Networks as files that run without this program: StableHLO and ONNX.

A file contains a network for one input window, with its normalisation and
weights. A model card and a script that predicts a photograph window by window
are written to the same folder.
"""
