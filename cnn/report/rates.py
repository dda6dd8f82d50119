"""Draws the loss at the end of short trainings over their learning rate."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from cnn.report import charts
from cnn.report.charts import Ink
from cnn.report.html import Figure

if TYPE_CHECKING:
    from matplotlib import figure as drawing

SIZE = (620, 380)
NAME = "rates"


def files(
    rates: Sequence[float],
    losses: Float[np.ndarray, "rates seeds"],
    *,
    measured: str,
    untrained: float,
    suggestion: float | None,
) -> dict[str, Figure]:
    """Returns the picture as `rates.svg` and `rates.png`.

    Args:
      rates: ascending.
      losses: by rate and seed, NaN where a training diverged.
      measured: what they are.
      untrained: the loss before training.
      suggestion: the rate that is marked, `None` for none.
    """

    def paint(figure: "drawing.Figure", ink: Ink) -> None:
        axes = figure.subplots()
        figure.subplots_adjust(left=0.11, right=0.97, top=0.9, bottom=0.13)
        axes.set_xscale("log")
        shown = losses <= max(untrained, np.nanmin(losses)) if not np.isnan(losses).all() else np.isfinite(losses)
        low = np.nanmin(losses) if shown.any() else untrained / 2
        axes.set_ylim(low - 0.06 * (untrained - low or 1), untrained + 0.1 * (untrained - low or 1))
        axes.axhline(untrained, color=ink.muted, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.text(rates[0], untrained, "untrained", color=ink.muted, va="bottom", fontsize=8)
        sound = [index for index, row in enumerate(losses) if np.isfinite(row).all()]
        x = [rates[index] for index in sound]
        whole = losses[sound]
        if sound:
            axes.fill_between(x, whole.min(1), whole.max(1), color=ink.blue, alpha=0.2, linewidth=0)
            axes.plot(x, np.median(whole, axis=1), color=ink.blue, marker="o", markersize=4, linewidth=1.6)
        for index, row in enumerate(losses):
            for loss in row:
                if math.isnan(loss):
                    axes.plot([rates[index]], [0.97], "x", color=ink.orange, transform=axes.get_xaxis_transform())
                elif index not in sound:
                    axes.plot([rates[index]], [loss], "o", color=ink.blue, markersize=3)
        if suggestion is not None:
            axes.axvline(suggestion, color=ink.orange, linewidth=1.4)
        title = "no rate learned" if suggestion is None else f"suggested {suggestion:.3g}"
        diverged = "; x: diverged" if np.isnan(losses).any() else ""
        axes.set_title(f"{title}{diverged}", fontsize=9, color=ink.text, loc="left")
        axes.set_xlabel("learning rate")
        axes.set_ylabel(f"{measured}: the median and all seeds")

    return charts.files(NAME, SIZE, paint)
