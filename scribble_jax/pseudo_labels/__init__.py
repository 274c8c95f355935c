"""Stage 1: a classifier, its class activations, and pseudo-labels from them."""
