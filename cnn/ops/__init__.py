"""Convolution, pooling and normalisation of arrays, each in the ways that are fastest where it runs."""
