"""Trained weights: of workdirs, of PyTorch's files, of ImageNet."""
