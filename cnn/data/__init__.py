"""Datasets as uint8 pictures, in memory or streamed: digits, folders of pictures, and anything of TFDS."""
