"""StableHLO by `jax.export`: one file that JAX runs on CPU, CUDA and TPU without this code."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import export
from jaxtyping import Array, Float, Num

from cnn.export import agreement
from cnn.export.artefact import Artefact, Trained, check_size, pictures, unlike_predict
from cnn.layers.activation import Softmax
from cnn.model import network, summary

PLATFORMS = ("cpu", "cuda", "tpu")


def write(trained: Trained) -> Artefact:
    """Returns the network with its preprocessing inside, for any batch size: pictures in, probabilities out.

    It computes layer by layer (the plain plan) in float32, at the highest precision of each platform, whatever the run
    was trained in. It is run on this machine's CPU and compared with `predict`'s own forward pass.

    Raises:
      ConfigError: the network is larger than the format can hold.
      FloatingPointError: a probability is not finite, or differs by more than rounding.
    """
    check_size(trained)
    values = trained.values
    batch = export.symbolic_shape("batch, ...", like=(1, *values.data.image_shape))
    images = jax.ShapeDtypeStruct(batch, jnp.dtype(trained.intensities))
    with jax.default_matmul_precision("highest"):
        exported = export.export(jax.jit(_probabilities(trained)), platforms=PLATFORMS)(images)
    content = bytes(exported.serialize())
    loaded = jax.jit(export.deserialize(bytearray(content)).call)
    with jax.default_device(agreement.cpu()):
        worst = agreement.check(trained, loaded)
    about = {"platforms": list(PLATFORMS), "calling_convention": exported.calling_convention_version}
    said = (
        *unlike_predict(trained),
        f"checked on cpu: probabilities differ from predict's in float32 by at most {worst:.1g}; "
        "lowered for cuda and tpu, not run there",
    )
    return Artefact(content, {**pictures(trained), **about, "jax": jax.__version__, "difference": worst}, said)


def _probabilities(trained: Trained) -> Any:
    def of_one(member: Trained, images: Num[Array, "batch height width channels"]) -> Float[Array, "batch classes"]:
        layers = member.values.layers
        outputs = network.capture(layers, member.variables, member.classifier.preprocess(images))
        last = outputs[summary.named(layers)[-1][0]]
        return last if isinstance(layers[-1], Softmax) else jax.nn.softmax(last)

    def probabilities(images: Num[Array, "batch height width channels"]) -> Float[Array, "batch classes"]:
        first, *others = (of_one(member, images) for member in trained.members)
        return sum(others, first) / (1 + len(others)) if others else first

    return probabilities
