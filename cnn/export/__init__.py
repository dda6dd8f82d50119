"""Networks for other programs: a run's weights, or all it computes, as one file; a module for each format."""

from cnn.export.artefact import Artefact, Trained, pictures

__all__ = ["Artefact", "Trained", "pictures"]
