"""`summary`: what every layer makes of one image, from the config alone."""

from collections.abc import Mapping
from pathlib import Path

from cnn.cli import printing
from cnn.config.config import Config
from cnn.system import environment
from cnn.train import memory_estimate


def run(config: Config, workdir: Path, flags: Mapping[str, str]) -> int:
    """Prints the table; reads no data and imports no JAX."""
    del workdir, flags
    printing.summary(config.rows, config.data.image_shape)
    for written, layers in config.pieces:
        print(f"{' '.join(written.split())}: {', '.join(layers)}")
    if line := memory_estimate.split(config):
        print(line)
    for device, platform in (("an accelerator", "gpu"), ("a CPU", "cpu")):
        need = memory_estimate.need(config, platform)
        print(f"training on {device} needs about {need} of memory, and what the pictures of the data set take")
    if (asked := config.train.compute_dtype) != "float32":
        print(f"computes on an accelerator in {asked}, on this CPU {environment.arithmetic(asked, 'cpu')}")
    return 0
