"""How much memory a device needs to train: reckoned from the layer list, without JAX, before anything is compiled.

What the state takes is exact. What is kept between the layers follows a simple model: every layer's output, once for
the gradient, and what its gradient needs beside it. Tests hold it within a factor `WITHIN` of what XLA's own analysis
of the compiled step says. Not counted: what evaluation needs, which is less, the host's copy of the best state while it
waits to be saved, and what the runtime takes for itself.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from cnn.config.config import Config, arrays
from cnn.layers.combine import Residual
from cnn.layers.convolution import Conv
from cnn.model import fusion, summary
from cnn.model.microbatch import microbatch_size
from cnn.model.summary import Row
from cnn.optim import averages, gradients
from cnn.system import huge_pages

WITHIN = 2
"""The estimate is at most so many times too high or too low."""
FLOAT = 4
"""Bytes of a float32."""

_WORK = 3
"""Gradients, updates and new parameters stand side by side when a step ends."""


class Need(NamedTuple):
    """Bytes on one device."""

    parameters: int
    optimizer: int
    """With the moving average, where one is kept."""
    step: int
    """Gradients and updates; of SAM also the parameters where it takes its second gradient, gone before the updates."""
    activations: int
    """What is kept between forward and backward, of `examples` at a time."""
    data: int
    examples: int

    @property
    def total(self) -> int:
        return self.parameters + self.optimizer + self.step + self.activations + self.data

    def __str__(self) -> str:
        parts = [f"{name} {show(getattr(self, name))}" for name in ("parameters", "optimizer", "step")]
        parts.append(f"activations of {self.examples} images {show(self.activations)}")
        parts += [f"data {show(self.data)}"] if self.data else []
        return f"{show(self.total)} ({', '.join(parts)})"


def need(values: Config, platform: str, *, devices: int = 1, data: int = 0) -> Need:
    """Returns what training takes on each device.

    Args:
      values: the config.
      platform: cpu, gpu or tpu.
      devices: how many share a batch.
      data: bytes of the data set that lie on each.
    """
    everything = summary.count_parameters(values.rows)
    measured = summary.count_parameters(values.rows, "batch_stats")
    trained = everything - frozen(values)
    averaged = 0 if isinstance(values.train.average, averages.NoAverage) else everything
    slots = getattr(values.optimizer, "slots", 2)
    share = values.train.batch_size // devices
    part = share // values.train.accumulate_steps
    widest = fusion.widest(values.layers, values.data.image_shape)
    splits = fusion.independent(values.layers, values.data.image_shape)
    examples = microbatch_size(part, widest, platform, devices=devices) if splits else part
    # The pictures of the whole share are prepared at once: as bytes and numbers of the size at which they are held, and
    # as numbers of the size that the network sees.
    stored, seen = math.prod(values.data.stored_shape), math.prod(values.data.image_shape)
    pictures = share * (stored * (1 + FLOAT) + seen * FLOAT)
    if not isinstance(values.train.gradient, gradients.Plain):
        # Two gradients, of the same pictures: they are kept from the first to the second. The parameters at which the
        # second is taken, and it itself, are there before updates and new parameters are: in `step` they are counted.
        pictures += share * seen * FLOAT
    return Need(
        parameters=FLOAT * (everything + measured),
        optimizer=FLOAT * (slots * trained + averaged),
        step=_WORK * FLOAT * trained,
        activations=pictures + examples * _of_one(values, platform),
        data=data,
        examples=examples,
    )


def gains_by_huge_pages(values: Config) -> bool:
    """Tells whether a step on a CPU keeps so much that starting again with huge pages pays."""
    return need(values, "cpu").activations >= huge_pages.LEAST


def frozen(values: Config) -> int:
    """Returns how many numbers of the parameters training leaves as they are."""
    kept = set(values.frozen)
    return sum(parameter.size for path, parameter in arrays(values.rows).items() if path in kept)


def split(values: Config) -> str | None:
    """Returns a line about what is trained and what is frozen, `None` where nothing is frozen."""
    if not values.frozen:
        return None
    kept, everything = frozen(values), summary.count_parameters(values.rows)
    return f"{everything - kept:,} parameters are trained, {kept:,} frozen: {values.train.freeze}"


def refusal(need: Need, values: Config, available: int) -> str | None:
    """Returns why training cannot fit into so many bytes a device, `None` where it can or might."""
    if need.total <= WITHIN * available:
        return None
    parts = values.train.accumulate_steps
    remedies = ["a smaller batch, more devices", f"config.train.accumulate_steps = {2 * parts}"]
    if values.train.remat == "none":
        remedies.append('config.train.remat = "blocks"')
    if need.parameters + need.optimizer + need.step > WITHIN * available:
        remedies = ["a smaller network"]
    return (
        f"config.train.batch_size: training needs about {need} on each device, got {show(available)} there. "
        f"Use {' or '.join(remedies)}."
    )


def warning(need: Need, available: int) -> str | None:
    """Returns a line where training may not fit."""
    if need.total <= available:
        return None
    return f"this may not fit: training needs about {need} on each device, which has {show(available)}"


def show(count: float) -> str:
    """Returns a number of bytes as it is read."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:,.0f} {unit}" if count >= 100 else f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:,.0f} GiB" if count >= 100 else f"{count:.3g} GiB"


def _of_one(values: Config, platform: str) -> int:
    """Returns the bytes that one example needs between forward and backward."""
    # A CPU keeps what lies between the layers in float32.
    size = 2 if values.train.compute_dtype == "bfloat16" and platform != "cpu" else FLOAT
    rows = [row for row in values.rows if not isinstance(row.layer, Residual)]
    kept = [size * _numbers(row, platform) for row in rows]
    if platform == "cpu" or values.train.remat == "none" or not rows:
        return math.ceil(sum(kept))
    # What goes into each block, and one block at a time while it is computed again.
    blocks = fusion.blocks(list(zip(rows, kept, strict=True)), values.train.remat)
    inputs = sum(size * math.prod(block[0][0].input) for block in blocks)
    return math.ceil(min(sum(kept), inputs + max(sum(numbers for _, numbers in block) for block in blocks)))


def _numbers(row: Row, platform: str) -> float:
    if platform == "cpu" and isinstance(row.layer, Conv):
        outputs = math.prod(row.output)
        return outputs + _beside_conv(row.layer, row.input, outputs)
    return row.layer.kept_numbers(row.input)


def _beside_conv(conv: Conv, shape: Sequence[int], outputs: int) -> float:
    """Returns the numbers beside its output that a convolution on a CPU writes down, see `cnn.ops.conv.choose`."""
    height, width = conv.kernel
    window = height * width * shape[2] // conv.groups
    if (height, width) == (3, 3) and conv.strides == conv.dilation == (1, 1) and min(shape[2], conv.features) >= 8:
        return 2.0 * outputs  # Winograd's transforms
    if window <= 32:
        return 0.0  # written out, with the pooling after it
    return outputs / conv.features * window * conv.groups
