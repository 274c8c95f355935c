"""Stage 1: a classifier, its activations, and the pseudo-labels they make."""
