"""Networks as files that run without this program: StableHLO and ONNX.

A file holds the network of one window with its normalisation and weights. A
model card and a script that predicts a photograph window by window lie beside
it.
"""
