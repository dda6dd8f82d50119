"""`summary`: the journey table, from the config alone."""

from collections.abc import Mapping
from pathlib import Path

from cnn import footprint, terminal
from cnn.config import Values


def run(values: Values, workdir: Path, flags: Mapping[str, str]) -> int:
    """Prints the table; reads no data and imports no JAX."""
    del workdir, flags
    terminal.journey(values.rows, values.data.image_shape)
    if line := footprint.split(values):
        print(line)
    for device, platform in (("an accelerator", "gpu"), ("a CPU", "cpu")):
        need = footprint.need(values, platform)
        print(f"training on {device} needs about {need} of memory, and what the pictures of the data set take")
    return 0
