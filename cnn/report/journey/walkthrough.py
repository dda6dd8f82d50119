"""The journey on paper: the image, the strongest maps of each stage, and one pixel's arithmetic written out in full."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from cnn.losses import softmax
from cnn.report import escape
from cnn.report.colormap import Scale, picture
from cnn.report.hand_convolution import Kernel
from cnn.report.journey.graph import Stage, reach_back
from cnn.report.journey.journey_file import Journey, Picture
from cnn.report.journey.reference import expected

MAPS = 8
STRIPS = 6
"""The most maps of a stage, and the most stages, that are drawn."""


Rows = Sequence[Sequence[str]]


class Example(NamedTuple):
    """The strongest number of a convolution, by its parts; the shown parts add up to the shown sum."""

    stage: Stage
    row: int
    column: int
    feature: int
    tables: list[tuple[str, Rows, Rows, Rows]]
    """For each input channel: its name, the window, the kernel, the products."""
    parts: list[tuple[Kernel, Kernel, Kernel, float]]
    """The same as numbers, rounded alike, and their sum."""
    terms: list[tuple[str, str]]
    total: str
    found: float
    sees: str


def tell(journey: Journey) -> Markup:
    """Returns the first image's journey as it stands on paper and where no script runs."""
    first = journey.pictures[0]
    outputs = forward(journey, first)
    zoom = max(1, 112 // max(first.pixels.shape[:2]))
    height, width = (side * zoom for side in first.pixels.shape[:2])
    name = "the image" if first.label is None else escape.visible(journey.classes[first.label])
    return escape.render(
        "walkthrough.html.j2",
        journey=journey,
        first=first,
        image=picture(first.pixels, width, height, f"{name}, {first.name}"),
        strips=_strips(journey, outputs),
        example=example(journey, outputs),
        chances=chances(journey, outputs),
    )


def forward(journey: Journey, first: Picture) -> dict[str, np.ndarray]:
    """Returns every stage's numbers: those that are stored, and those that follow from them exactly."""
    planes = [journey.table[channel][first.pixels[..., channel]] for channel in range(len(journey.table))]
    outputs = {"input": np.stack(planes, axis=-1)}
    for stage in journey.stages[1:]:
        if stage.name in first.outputs:
            outputs[stage.name] = first.outputs[stage.name]
            continue
        answer = expected(stage, [outputs[journey.stages[source].name] for source in stage.sources], {})
        if answer is not None:
            outputs[stage.name] = answer[0].astype(np.float32)
    return outputs


def _strips(journey: Journey, outputs: dict[str, np.ndarray]) -> list[tuple[Stage, Markup]]:
    """Returns the strongest maps of the stages that matter most to a reader, side by side."""
    stages = [stage for stage in journey.stages if len(stage.output) == 3 and stage.op in ("conv", "relu", "max_pool")]
    chosen = stages if len(stages) <= STRIPS else [stages[i * len(stages) // STRIPS] for i in range(STRIPS)]
    return [(stage, strip(outputs[stage.name], stage.name)) for stage in chosen]


def strip(maps: np.ndarray, name: str) -> Markup:
    """Returns the strongest maps side by side, with one scale."""
    scale = Scale.over(maps)
    strongest = np.sort(np.argsort(-np.abs(maps).mean((0, 1)), kind="stable")[:MAPS])
    gap = np.full((maps.shape[0], 1), np.nan)
    row = np.concatenate([part for index in strongest for part in (maps[..., index], gap)], axis=1)[:, :-1]
    zoom = max(1, 448 // row.shape[1])
    label = f"{name}: maps {', '.join(map(str, strongest))}"
    return scale.printed(row, row.shape[1] * zoom, row.shape[0] * zoom, label)


def example(journey: Journey, outputs: dict[str, np.ndarray]) -> Example | None:
    """Returns the strongest number of the first convolution, taken apart; `None` without a convolution."""
    number, stage = next(((i, s) for i, s in enumerate(journey.stages) if s.op == "conv"), (0, None))
    if stage is None:
        return None
    maps = outputs[stage.name]
    row, column, feature = (int(i) for i in np.unravel_index(np.abs(maps).argmax(), maps.shape))
    arrays = journey.of(stage)
    kernel = np.asarray(arrays["kernel"], np.float64)[..., feature]
    window = _window(stage, outputs[journey.stages[stage.sources[0]].name], row, column)
    first = feature // (stage.output[2] // stage.groups) * kernel.shape[2]
    products = window[..., first : first + kernel.shape[2]] * kernel
    sums = [float(products[..., k].sum()) for k in range(kernel.shape[2])]
    bias = float(arrays["bias"][feature]) if "bias" in arrays else 0.0
    places = decimals([bias, *sums])
    shown = apportion([bias, *sums], places)
    tables, parts = [], []
    for k in range(min(kernel.shape[2], 3)):
        made = np.reshape(apportion(products[..., k].ravel().tolist(), places, shown[k + 1]), kernel.shape[:2])
        seen, weights = window[..., first + k].round(4), kernel[..., k].round(4)
        parts.append((_tuples(seen), _tuples(weights), _tuples(made), shown[k + 1]))
        tables.append((f"channel {first + k}", _cells(seen, 4), _cells(weights, 4), _cells(made, places)))
    terms = [("bias", f"{shown[0]:+.{places}f}")]
    terms += [(f"channel {first + k}", f"{value:+.{places}f}") for k, value in enumerate(shown[1:])]
    if len(terms) > 13:
        terms = [*terms[:12], (f"the other {len(terms) - 12}", f"{sum(shown[12:]):+.{places}f}")]
    region = reach_back(journey.stages, number, row, column)[0]
    sees = " and ".join(f"{axis} {a} to {b - 1}" for axis, (a, b) in zip(("rows", "columns"), region, strict=True))
    sees = sees if stage.sees_known else "an unknown part"
    found = float(maps[row, column, feature])
    return Example(stage, row, column, feature, tables, parts, terms, f"{sum(shown):+.{places}f}", found, sees)


def _window(stage: Stage, x: np.ndarray, row: int, column: int) -> np.ndarray:
    padded = np.pad(np.asarray(x, np.float64), (*stage.pads, (0, 0)))
    top, left = row * stage.strides[0], column * stage.strides[1]
    (height, width), (down, right) = stage.kernel, stage.dilation
    return padded[top : top + (height - 1) * down + 1 : down, left : left + (width - 1) * right + 1 : right]


def _tuples(numbers: np.ndarray) -> Kernel:
    return tuple(tuple(row) for row in (numbers + 0.0).tolist())


def _cells(numbers: np.ndarray, places: int) -> Rows:
    return [[f"{number:.{places}f}" for number in row] for row in numbers.tolist()]


def chances(journey: Journey, outputs: dict[str, np.ndarray]) -> list[tuple[str, float]]:
    """Returns the five likeliest classes."""
    logits = next(outputs[stage.name] for stage in reversed(journey.stages) if stage.op != "softmax")
    probabilities = softmax(logits)
    order = np.argsort(-logits, kind="stable")[:5]
    return [(journey.classes[index], float(probabilities[index])) for index in order]


def decimals(numbers: Sequence[float]) -> int:
    """Returns with how many decimals the largest of the numbers shows four digits."""
    largest = max(map(abs, numbers))
    return min(12, max(0, 3 - math.floor(math.log10(largest)))) if largest else 0


def apportion(numbers: Sequence[float], places: int, total: float | None = None) -> list[float]:
    """Returns the numbers rounded up or down to so many decimals, so that they add up to the rounded total.

    Source:
      The method of largest remainders, as in elections.
    """
    unit = 10**places
    down = [math.floor(number * unit) for number in numbers]
    wanted = sum(numbers) if total is None else total
    missing = round(wanted * unit) - sum(down)
    order = sorted(range(len(numbers)), key=lambda i: down[i] - numbers[i] * unit)
    for i in order[: max(0, missing)]:
        down[i] += 1
    return [number / unit for number in down]
