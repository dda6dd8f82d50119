"""Convolutional image-classifier experiments in JAX."""
