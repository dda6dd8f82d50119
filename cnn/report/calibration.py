"""Whether the network's confidence can be trusted: the reliability diagram."""

from typing import Any

from cnn.report import charts, escape
from cnn.report.html import PageSection
from cnn.report.run_files import BinRecord, EvaluationRecord, RunFiles

SIZE = (430, 420)


def build(run: RunFiles) -> PageSection | None:
    """Returns the reliability diagram, of the bins that the calibration error is computed from."""
    if run.main is None:
        return None
    _, evaluation = run.main
    label = sentence(evaluation)
    image, figures = charts.draw(
        "calibration", SIZE, label, lambda figure, ink: _paint(figure, ink, evaluation["bins"])
    )
    html = escape.render(
        "calibration.html.j2", image=image, label=label, bins=[entry for entry in evaluation["bins"] if entry["count"]]
    )
    title = f"Can its confidence be trusted: calibration error {evaluation['ece']:.4f}"
    return PageSection("calibration", title, html, short="Calibration", figures=figures)


def sentence(evaluation: EvaluationRecord) -> str:
    """Returns the finding in words."""
    sums = [entry["count"] * entry["confidence"] for entry in evaluation["bins"] if entry["confidence"] is not None]
    confidence = sum(sums) / evaluation["count"]
    gap = confidence - evaluation["accuracy"]
    fair = abs(gap) < 0.005
    verdict = "neither too sure nor too modest on the whole" if fair else "too sure" if gap > 0 else "too modest"
    return (
        f"On average it is {100 * confidence:.1f} % sure and {100 * evaluation['accuracy']:.1f} % right: {verdict}. "
        f"The expected calibration error is {evaluation['ece']:.4f}."
    )


def _paint(figure: Any, ink: charts.Ink, bins: list[BinRecord]) -> None:
    axes = figure.add_axes((0.15, 0.32, 0.82, 0.65))
    below = figure.add_axes((0.15, 0.11, 0.82, 0.15))
    width = bins[0]["high"] - bins[0]["low"]
    filled = [entry for entry in bins if entry["count"]]
    middles = [(entry["low"] + entry["high"]) / 2 for entry in filled]
    axes.bar(middles, [entry["accuracy"] for entry in filled], 0.9 * width, color=ink.blue, alpha=0.75)
    axes.plot([0, 1], [0, 1], color=ink.muted, linewidth=1, linestyle=(0, (4, 2)))
    axes.plot(
        [entry["confidence"] for entry in filled],
        [entry["accuracy"] for entry in filled],
        linestyle="none",
        marker="o",
        markersize=4,
        color=ink.orange,
    )
    axes.set_ylabel("share that is right")
    axes.set_ylim(0, 1.02)
    below.bar(middles, [entry["count"] for entry in filled], 0.9 * width, color=ink.muted)
    below.set_yscale("log")
    below.yaxis.set_major_formatter("{x:g}")
    below.minorticks_off()
    below.set_ylim(bottom=0.7)
    below.set_ylabel("images")
    below.set_xlabel("confidence of the prediction")
    for panel in (axes, below):
        panel.set_xlim(0, 1)
        panel.yaxis.set_label_coords(-0.13, 0.5)
    axes.tick_params(labelbottom=False)
