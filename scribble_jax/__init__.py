"""Segmentation networks from scribbles, in JAX."""

import os

__version__ = '0.1.0'

# Before anything loads TensorFlow, which reads records here and nothing else.
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '0')  # Or it says it is on.
