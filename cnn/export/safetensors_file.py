"""The parameters alone, by their names, as a `.safetensors` file that many programs read, `config.init_from` too."""

import json
from typing import Any

import jax
import numpy as np
from safetensors.numpy import save

from cnn.config.config import ConfigError
from cnn.export.artefact import Artefact, Trained
from cnn.model import classifier

LAYOUT = (
    "kernels are height x width x inputs x features (conv) and inputs x features (dense); maps are flattened as HWC"
)


def write(trained: Trained) -> Artefact:
    """Returns every array in float32 by its path, `conv1/kernel`, and as metadata what it takes to use them.

    Raises:
      ConfigError: there are several networks, and the file computes nothing, so no mean either.
    """
    if trained.others:
        raise ConfigError(
            [
                f"--format: safetensors holds the arrays of one network, got {len(trained.members)}. "
                "Use stablehlo or onnx, or --average in place of --ensemble"
            ]
        )
    arrays = {path: np.asarray(array) for path, array in classifier.flatten(jax.device_get(trained.variables)).items()}
    data = trained.values.data
    about: dict[str, Any] = {
        "layers": json.loads(trained.values.json)["model"],
        "classes": list(trained.classes),
        "input_shape": list(data.image_shape),
        "mean": list(data.mean),
        "std": list(data.std),
        "step": trained.step,
        "weights": trained.weights,
        "layout": LAYOUT,
    }
    metadata = {name: value if isinstance(value, str) else json.dumps(value) for name, value in about.items()}
    said = (f"{len(arrays)} arrays, {sum(array.size for array in arrays.values()):,} numbers; {LAYOUT}",)
    return Artefact(save(arrays, metadata), {"arrays": sorted(arrays), **about}, said)
