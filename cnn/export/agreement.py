"""Whether an export computes what this software computes."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, Num

from cnn import evaluate, losses
from cnn.export.artefact import Trained

Probabilities = Callable[[np.ndarray], Any]
"""From pictures, as the export takes them, to an array of probabilities."""

TOLERANCE = 1e-5
"""The largest difference of two probabilities; times the largest logit if above 1, as roundings grow with it."""


def cpu() -> Any:
    """Returns the CPU device, on which exports are checked."""
    return jax.devices("cpu")[0]


def check(trained: Trained, probabilities: Probabilities) -> float:
    """Compares an export with the forward pass of `eval` and `predict` in float32, on the CPU, on drawn pictures.

    Returns:
      The largest difference of two probabilities.

    Raises:
      FloatingPointError: it is not finite, or larger than rounding explains.
    """
    worst = 0.0
    for size in trained.compared:
        images = drawn(trained, size)
        logits = [expected(member, images) for member in trained.members]
        mean = np.mean([losses.softmax(each) for each in logits], axis=0)
        found = np.asarray(probabilities(images), np.float64)
        difference = float(np.abs(found - mean).max())
        allowed = TOLERANCE * max(1.0, *(float(np.abs(each).max()) for each in logits))
        if found.shape != mean.shape or not difference <= allowed:
            raise FloatingPointError(
                f"--format: the export differs from this software's own probabilities by {difference:.2g}, "
                f"more than {allowed:.2g}. Nothing was written; report it with the run's config.json"
            )
        worst = max(worst, difference)
    return worst


def drawn(trained: Trained, size: int, seed: int = 0) -> Num[np.ndarray, "size height width channels"]:
    """Returns pictures of many kinds: from flat to noise, from dark to light."""
    rng = np.random.default_rng([seed, size])
    shape = trained.values.data.image_shape
    centre = rng.uniform(0, 255, (size, 1, 1, shape[2]))
    spread = rng.uniform(0, 128, (size, 1, 1, 1))
    images = np.clip(centre + spread * rng.normal(size=(size, *shape)), 0, 255)
    return images.astype(trained.intensities)


def expected(trained: Trained, images: np.ndarray) -> Float32[np.ndarray, "images classes"]:
    """Returns the logits of evaluation's own program, in float32 on the CPU."""
    with jax.default_device(cpu()), jax.default_matmul_precision("highest"):
        classifier = jax.tree.map(lambda array: jnp.asarray(np.asarray(array)), trained.classifier)
        return evaluate.predict_logits(classifier, jnp.asarray(images), evaluate.EvalConfig(len(images)))
