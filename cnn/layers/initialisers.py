"""How the kernel of a convolution or of a dense layer begins, one class of `Initialiser` each.

`make` draws a kernel; its last axis holds the features, the one before it the inputs of each, as in Flax. What a layer
does not say of itself, `config.model.init` says for all.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from etils import epy

from cnn import fields
from cnn.expression import StandIn
from cnn.fields import Count, Language, Positive
from cnn.layers.base import Init, Layer, LayerError, Shape
from cnn.registry import INITIALISERS as INITIALISERS
from cnn.registry import PACKAGE, ExtensionError, FunctionForm, OfFunction, blamed, initialiser, origin_of, place

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp

if TYPE_CHECKING:
    from jaxtyping import Float, PRNGKeyArray

Distribution = Literal["truncated_normal", "normal", "uniform"]


@dataclasses.dataclass(frozen=True)
class Initialiser:
    """How an array begins; each kind says so in `make`, or in `declared`."""

    kind: ClassVar[str]
    declared: ClassVar[Init] = "own"
    """What the network does itself, beside every other array; `own` where `make` draws it."""

    def check(self, shape: Shape, groups: int = 1) -> None:
        """Refuses a kernel that cannot begin so.

        Raises:
          LayerError: the message starts with the reason.
        """

    def make(self, key: PRNGKeyArray, shape: Shape, groups: int = 1) -> jax.Array:
        """Returns the first value of a kernel.

        Args:
          key: consumed.
          shape: height, width, inputs of each group and features; or inputs and features.
          groups: of the convolution.
        """
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class _Scaled(Initialiser):
    """Draws numbers of the variance `gain` over so many inputs, outputs, or their mean."""

    def variance(self) -> tuple[Any, Literal["fan_in", "fan_out", "fan_avg"], Distribution]:
        raise NotImplementedError

    def make(self, key: PRNGKeyArray, shape: Shape, groups: int = 1) -> jax.Array:
        gain, fan, distribution = self.variance()
        return jax.nn.initializers.variance_scaling(1.0, fan, distribution)(key, shape) * jnp.sqrt(gain)


@initialiser
class Default(Initialiser):
    """What `config.model.init` says; where it says nothing, `glorot`, as in Keras."""

    declared: ClassVar[Init] = "glorot_uniform"


@initialiser
class Glorot(_Scaled):
    """Numbers of the variance 2 / (inputs + outputs); also called Xavier.

    Source:
      Glorot and Bengio 2010, https://proceedings.mlr.press/v9/glorot10a.html.
    """

    distribution: Distribution = "uniform"
    """What the numbers are drawn from."""

    @property
    def declared(self) -> Init:  # type: ignore[override]
        return "glorot_uniform" if self.distribution == "uniform" else "own"

    def variance(self) -> tuple[Any, Literal["fan_in", "fan_out", "fan_avg"], Distribution]:
        return 1.0, "fan_avg", self.distribution


@initialiser
class He(_Scaled):
    """Numbers of the variance 2 / inputs, or 2 / outputs, for layers before a ReLU; also called Kaiming.

    PyTorch's ResNets begin with `he(fan="out", distribution="normal")`.

    Source:
      He et al. 2015, https://arxiv.org/abs/1502.01852.
    """

    fan: Literal["in", "out"] = "in"
    """Whether the variance follows from the inputs or the outputs."""
    distribution: Distribution = "truncated_normal"
    """What the numbers are drawn from."""

    def variance(self) -> tuple[Any, Literal["fan_in", "fan_out", "fan_avg"], Distribution]:
        return 2.0, "fan_in" if self.fan == "in" else "fan_out", self.distribution


@initialiser
class Lecun(_Scaled):
    """Numbers of the variance gain / inputs.

    PyTorch's own convolutions and linear layers begin with `lecun("uniform", gain=0.3333333)`.

    Source:
      LeCun et al. 1998, Efficient BackProp, section 4.6.
    """

    distribution: Distribution = "truncated_normal"
    """What the numbers are drawn from."""
    gain: Positive = 1.0
    """Multiplies the variance."""

    def variance(self) -> tuple[Any, Literal["fan_in", "fan_out", "fan_avg"], Distribution]:
        return self.gain, "fan_in", self.distribution


@initialiser
class Normal(Initialiser):
    """Numbers of this standard deviation; truncated, none is further from 0 than two of it, as in ConvNeXt."""

    std: Positive = 0.02
    """The standard deviation before it is truncated."""
    truncated: bool = True
    """Whether numbers further from 0 than two standard deviations are drawn anew."""

    def make(self, key: PRNGKeyArray, shape: Shape, groups: int = 1) -> jax.Array:
        draw = jax.random.truncated_normal(key, -2.0, 2.0, shape) if self.truncated else jax.random.normal(key, shape)
        return draw * jnp.asarray(self.std, jnp.float32)


@initialiser
class Orthogonal(Initialiser):
    """Features, or inputs where they are fewer, that are orthogonal to each other and of length `gain`.

    Source:
      Saxe et al. 2014, https://arxiv.org/abs/1312.6120.
    """

    gain: Positive = 1.0
    """The length of each."""

    def make(self, key: PRNGKeyArray, shape: Shape, groups: int = 1) -> jax.Array:
        return jax.nn.initializers.orthogonal()(key, shape) * jnp.asarray(self.gain, jnp.float32)


@initialiser
class Zeros(Initialiser):
    """Zeros: at the end of a residual's body, it begins as its shortcut alone."""

    declared: ClassVar[Init] = "zeros"


@initialiser
class Dirac(Initialiser):
    """The first features hand on the inputs; those that are more begin as `rest`.

    Source:
      Zagoruyko and Komodakis 2017, https://arxiv.org/abs/1706.00388; with `rest=lecun`, airbench's later convolutions,
      Jordan 2024, https://arxiv.org/abs/2404.00498, section 3.2.
    """

    rest: Annotated[Any, Language(INITIALISERS)] = Zeros()
    """How the features begin that are more than the inputs."""

    def check(self, shape: Shape, groups: int = 1) -> None:
        self.rest.check(shape, groups)

    def make(self, key: PRNGKeyArray, shape: Shape, groups: int = 1) -> jax.Array:
        share = shape[-1] // groups
        handed = min(shape[-2], share)
        own = np.zeros(shape, np.float32)
        first = np.zeros(shape[-1], bool)
        middle = tuple(side // 2 for side in shape[:-2])
        for group in range(groups):
            features = np.arange(group * share, group * share + handed)
            own[middle][np.arange(handed), features] = 1
            first[features] = True
        return jnp.where(first, own, drawn(self.rest, key, shape, groups))


@initialiser
class Whiten(Initialiser):
    """Filters that make the patches of the training images uncorrelated: of the first layer, which is then frozen.

    They are eigenvectors of the covariance of all patches of so many training images, those of the largest eigenvalues,
    each over sqrt(eigenvalue + epsilon), and once more with the other sign. Write `conv(24, 2, init=whiten)`, and
    `config.train.freeze = "conv1/kernel"`.

    Source:
      Jordan 2024, https://arxiv.org/abs/2404.00498, section 3.2.
    """

    images: Count = 5000
    """How many training images are looked at."""
    epsilon: Positive = 5e-4
    """Added to each eigenvalue."""

    def check(self, shape: Shape, groups: int = 1) -> None:
        most = 2 * math.prod(shape[:-1])
        if len(shape) != 4 or groups != 1 or shape[-1] % 2 or shape[-1] > most:
            raise LayerError(
                f"begins with init=whiten, which takes an even number of at most {most} features of all channels, "
                f"got {shape[-1]} in {groups} group{'s' * (groups > 1)}"
            )

    def make(self, key: PRNGKeyArray, shape: Shape, groups: int = 1) -> jax.Array:
        """Returns zeros, for `kernel` to replace where a run begins."""
        return jnp.zeros(shape, jnp.float32)

    def kernel(
        self, images: Float[np.ndarray, "n height width channels"], shape: Shape, dilation: tuple[int, int] = (1, 1)
    ) -> Float[np.ndarray, "height width channels features"]:
        """Returns the filters of standardised images, float32.

        Args:
          images: any number.
          shape: of the kernel.
          dilation: the distance of two neighbouring pixels of a patch.
        """
        covariance = np.zeros((math.prod(shape[:-1]),) * 2)
        height, width = (n - (k - 1) * d for n, k, d in zip(images.shape[1:3], shape[:2], dilation, strict=True))
        for start in range(0, len(images), _TOGETHER):
            some = images[start : start + _TOGETHER].astype(np.float64)
            taps = [
                some[:, row * dilation[0] :, column * dilation[1] :][:, :height, :width]
                for row in range(shape[0])
                for column in range(shape[1])
            ]
            patches = np.concatenate(taps, axis=-1).reshape(-1, len(covariance))
            covariance += patches.T @ patches
        values, vectors = np.linalg.eigh(covariance / (len(images) * height * width))
        half = shape[-1] // 2
        values, vectors = values[::-1][:half], vectors[:, ::-1][:, :half]
        # An eigenvector has two signs: its largest number is positive here, whatever the library chose.
        vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(0), np.arange(half)])
        filters = vectors / np.sqrt(np.maximum(values, 0) + float(self.epsilon))
        return np.concatenate([filters, -filters], axis=1).reshape(shape).astype(np.float32)


_TOGETHER = 500
"""Images whose patches are in memory at a time."""


class InitialiserFunction(OfFunction, Initialiser):
    """What a function draws."""

    def make(self, key: PRNGKeyArray, shape: Shape, groups: int = 1) -> jax.Array:
        return self.call(key=key, shape=shape, groups=groups)


class RecordedInitialiser(StandIn, Initialiser):
    """What stands for an initialiser that is not this package's, in a config that is only read."""

    def __init__(self, name: str, text: str) -> None:
        """Takes its name and its text in the config."""
        vars(self).update(name=name, text=text)


def _registered(thing: type, name: str) -> None:
    """Refuses a class that extends no initialiser.

    Raises:
      ExtensionError: it does not.
    """
    if not issubclass(thing, Initialiser):
        raise ExtensionError(
            f"{place(thing)}: the initialiser {name} extends none. Write {thing.__name__}(cnn.Initialiser)."
        )


INITIALISERS.adapter, INITIALISERS.recorded = _registered, RecordedInitialiser
INITIALISERS.function = FunctionForm(InitialiserFunction, ("key", "shape"), ("groups",))

Initial = Annotated[Any, Language(INITIALISERS)]
"""The annotation of a kernel's `init`."""
DEFAULT = Default()


def drawn(init: Initialiser, key: PRNGKeyArray, shape: Shape, groups: int = 1) -> jax.Array:
    """Returns the first value of a kernel, whoever draws it.

    Raises:
      ExtensionError: a user's own initialiser failed, or returned something else than a kernel.
    """
    if init.declared == "glorot_uniform":
        return jax.nn.initializers.glorot_uniform()(key, shape)
    if init.declared == "zeros":
        return jnp.zeros(shape, jnp.float32)
    kernel = blamed(init, "model.init", init.make)(key, shape, groups)
    if origin_of(init) == PACKAGE:
        return kernel
    if getattr(kernel, "shape", None) != shape or not jnp.issubdtype(kernel.dtype, jnp.floating):
        got = f"{kernel.dtype} of {kernel.shape}" if hasattr(kernel, "dtype") else type(kernel).__name__
        raise ExtensionError(f"config.model.init: {init.kind} must return floats of the shape {shape}, got {got}.")
    return jnp.asarray(kernel, jnp.float32)


def initialised(layers: Sequence[Layer], init: Initialiser) -> tuple[Layer, ...]:
    """Returns layers of which those begin so, at any depth, that do not say how they begin."""
    return tuple(_initialised(layer, init) for layer in layers)


def _initialised(layer: Layer, init: Initialiser) -> Layer:
    changes: dict[str, object] = {}
    for name, annotation in fields.options(type(layer)).items():
        value: Any = getattr(layer, name, None)
        mark = fields.nested(annotation)
        if isinstance(value, Default):
            changes[name] = init
        elif mark is not None:
            changes[name] = (
                tuple(initialised(chain, init) for chain in value) if mark.many else initialised(value, init)
            )
    return dataclasses.replace(layer, **changes) if changes else layer
