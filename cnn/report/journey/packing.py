"""What of a journey a page of limited size holds: the plan, made before anything is written, and the packed bytes."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cnn.report import html
from cnn.report.journey.graph import Stage
from cnn.report.journey.journey_file import Journey

MEGABYTE = 1_000_000
HARD_STOP = 12 * MEGABYTE
"""A journey that is larger whatever is left out is not embedded."""
LARGE_DENSE = 1_000_000
FEW_FILTERS = 8
LARGEST_HALF = 60_000.0


@dataclasses.dataclass(frozen=True)
class PackingPlan:
    """What is embedded.

    Attributes:
      images: how many of the images.
      dense: whether dense kernels of more than a million weights are.
      filters: of how many filters of each convolution the kernels are; 0 for all.
      half: whether maps whose arithmetic is not embedded are kept in float16.
    """

    images: int
    dense: bool = True
    filters: int = 0
    half: bool = False


def plan(images: int, cost: Callable[[PackingPlan], int], cap: int) -> PackingPlan | None:
    """Returns the first plan, in the order in which things are left out, that is not larger than `cap` bytes.

    Args:
      images: how many there are.
      cost: the bytes of a plan.
      cap: where even the smallest plan is larger, it is returned if it is no larger than `HARD_STOP`.

    Returns:
      `None` where nothing will do.
    """
    steps = [PackingPlan(n) for n in range(images, 0, -1)]
    steps += [PackingPlan(1, False), PackingPlan(1, False, FEW_FILTERS), PackingPlan(1, False, FEW_FILTERS, True)]
    for step in steps:
        if cost(step) <= cap:
            return step
    return steps[-1] if cost(steps[-1]) <= HARD_STOP else None


def said(chosen: PackingPlan, journey: Journey, cap_mb: float) -> list[str]:
    """Returns what the page says about what it leaves out."""
    notes = []
    if chosen.images < len(journey.pictures):
        notes.append(f"{chosen.images} of {len(journey.pictures)} images are in this report")
    dropped = [stage.name for stage in journey.stages if not chosen.dense and _large(stage, journey)]
    if dropped:
        notes.append(f"the kernels of {', '.join(dropped)} are not: their maps are, without the arithmetic")
    if chosen.filters and any(_few(stage, chosen) for stage in journey.stages):
        notes.append(f"of each convolution the kernels of the {chosen.filters} most active filters are")
    if chosen.half:
        notes.append("maps without their arithmetic are kept to three digits")
    limit = f"to stay within {cap_mb:g} MB (explain --max_mb)"
    return [f"{'; '.join(notes)}: {limit}."] if notes else []


def _large(stage: Stage, journey: Journey) -> bool:
    return stage.op == "dense" and journey.arrays[f"{stage.name}/kernel"].size > LARGE_DENSE


def _few(stage: Stage, chosen: PackingPlan) -> bool:
    return stage.op == "conv" and 0 < chosen.filters < stage.output[-1]


class Packer:
    """Packs one journey by any plan, and tells what a plan costs."""

    def __init__(self, journey: Journey) -> None:
        self._journey = journey
        self._known: dict[Any, int] = {}

    def cost(self, chosen: PackingPlan) -> int:
        """Returns the bytes that a plan takes in a page."""
        total = self._size(("weights", chosen.dense, chosen.filters), lambda: self.weights(chosen)[1])
        for number in range(chosen.images):
            key = ("image", number, chosen.half)
            total += self._size(key, functools.partial(lambda n: self.image(n, chosen)[1], number))
        return total

    def _size(self, key: Any, build: Callable[[], bytes]) -> int:
        if key not in self._known:
            self._known[key] = len(html.packed(shuffled(build())))
        return self._known[key]

    def kept(self, stage: Stage, chosen: PackingPlan) -> list[int] | None:
        """Returns the filters of a convolution whose kernels are embedded, `None` for all."""
        if not _few(stage, chosen):
            return None
        activity = sum(np.abs(picture.outputs[stage.name]).mean((0, 1)) for picture in self._journey.pictures)
        return sorted(np.argsort(-np.asarray(activity), kind="stable")[: chosen.filters].tolist())

    def weights(self, chosen: PackingPlan) -> tuple[list[tuple[str, int, int]], bytes]:
        """Returns name, first byte and count of each float32 array, and the bytes: arrays, then the images' pixels."""
        arrays = [("table", self._journey.table)]
        for stage in self._journey.stages:
            kept = self.kept(stage, chosen)
            for name, array in self._journey.of(stage).items():
                if not chosen.dense and name == "kernel" and _large(stage, self._journey):
                    continue
                arrays.append((f"{stage.name}/{name}", array if kept is None else array[..., kept]))
        places, content = _concatenated([(name, array.astype("<f4")) for name, array in arrays])
        pixels = b"".join(picture.pixels.tobytes() for picture in self._journey.pictures[: chosen.images])
        return places, content + pixels

    def image(self, number: int, chosen: PackingPlan) -> tuple[list[tuple[str, int, int]], bytes]:
        """Returns the stored stages of an image as `weights` does; half precision is marked by a negative count."""
        stages = {stage.name: stage for stage in self._journey.stages}
        arrays = []
        for name, array in self._journey.pictures[number].outputs.items():
            rough = chosen.half and (
                _few(stages[name], chosen) or (not chosen.dense and _large(stages[name], self._journey))
            )
            small = float(np.abs(array).max(initial=0)) < LARGEST_HALF
            arrays.append((name, array.astype("<f2" if rough and small else "<f4")))
        arrays.sort(key=lambda pair: -pair[1].itemsize)  # those of four bytes first, so that they are aligned
        return _concatenated(arrays)


def _concatenated(arrays: Sequence[tuple[str, np.ndarray]]) -> tuple[list[tuple[str, int, int]], bytes]:
    places, content = [], b""
    for name, array in arrays:
        places.append((name, len(content), array.size if array.itemsize == 4 else -array.size))
        content += array.tobytes()
    return places, content


def shuffled(content: bytes) -> bytes:
    """Returns the first bytes of all numbers of four bytes, then the second, and so on: compressed, 9 % smaller."""
    end = len(content) // 4 * 4
    return np.frombuffer(content[:end], np.uint8).reshape(-1, 4).T.tobytes() + content[end:]
