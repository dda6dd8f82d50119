"""Whether its confidence can be trusted, and how each class fares."""

from typing import Any

from cnn.report import charts, escape
from cnn.report.confusion import percent
from cnn.report.html import Part
from cnn.report.run_files import Run

SIZE = (430, 420)
OPEN = 30
"""With more classes the table is folded."""


def build(run: Run) -> Part | None:
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
    return Part("calibration", title, html, short="Calibration", figures=figures)


def sentence(evaluation: dict[str, Any]) -> str:
    """Returns the finding in words."""
    filled = [entry for entry in evaluation["bins"] if entry["count"]]
    confidence = sum(entry["count"] * entry["confidence"] for entry in filled) / evaluation["count"]
    gap = confidence - evaluation["accuracy"]
    fair = abs(gap) < 0.005
    verdict = "neither too sure nor too modest on the whole" if fair else "too sure" if gap > 0 else "too modest"
    return (
        f"On average it is {100 * confidence:.1f} % sure and {100 * evaluation['accuracy']:.1f} % right: {verdict}. "
        f"The expected calibration error is {evaluation['ece']:.4f}."
    )


def _paint(figure: Any, ink: charts.Ink, bins: list[dict[str, Any]]) -> None:
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


def build_classes(run: Run) -> Part | None:
    """Returns a row for each class: examples, recall, precision, F1, what it is taken for."""
    if run.main is None:
        return None
    name, evaluation = run.main
    names = run.class_names
    rows = []
    for index, entry in enumerate(evaluation["classes"]):
        others = [count for seen, count in enumerate(evaluation["confusion"][index]) if seen != index]
        most = max(others, default=0)
        mixed = next((s for s, c in enumerate(evaluation["confusion"][index]) if s != index and c == most), None)
        shares = [(key, entry[key]) for key in ("recall", "precision", "f1")]
        rows.append(
            {
                "name": names[index],
                "support": entry["support"],
                "shares": [("-" if value is None else f"{percent(value)} %", value) for _, value in shares],
                "mixed": names[mixed] if most and mixed is not None else None,
                "times": most,
            }
        )
    html = escape.render("classes.html.j2", rows=rows, split=name, open=len(rows) <= OPEN)
    return Part("classes", "Class by class", html, scripts=(escape.source("classes.js"),), short="Classes")
