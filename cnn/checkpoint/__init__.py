"""Saved states: step N holds the state after N updates, sealed by checksums; the latest two and the best are kept.

Orbax writes the arrays and makes each step appear at once. It does not notice flipped bits, casts types silently and
takes an empty folder for the newest step, so every step is inspected before Orbax sees it, and its arrays are compared
with the fingerprint that was taken on the device when they were saved.
"""

from cnn.checkpoint.format import Damaged, Foreign, NoValidCheckpoint
from cnn.checkpoint.reading import Restored, load, read
from cnn.checkpoint.writing import Writer

__all__ = ["Damaged", "Foreign", "NoValidCheckpoint", "Restored", "Writer", "load", "read"]
