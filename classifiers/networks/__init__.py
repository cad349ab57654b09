"""Heads that are networks: the attention family, ensembles built from it, the CNN. They need TensorFlow to learn."""
