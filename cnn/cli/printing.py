"""Results as text on stdout: a network's summary, an evaluation, predictions, a filter's map, a sweep's ranking.

Nothing is cut off, whatever the width.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.text import Text

from cnn.api import results
from cnn.cli import tables
from cnn.cli.pixels import bar, picture, sum_of
from cnn.config.config import NOT_SET
from cnn.ensembles.record import TogetherRecord, single_said
from cnn.fields import to_text
from cnn.layers.base import Shape, show, written
from cnn.model.summary import Row, activation_bytes, count_parameters
from cnn.report import filter_strip, hand_convolution
from cnn.report.run_files import EvaluationRecord
from cnn.runs import recorded_data
from cnn.runs.sweep_record import REPEATS, GroupRecord
from cnn.system import redaction
from cnn.system.console import Console
from cnn.system.text import counted, four_digits, plain

if TYPE_CHECKING:
    from cnn.train.profile import Part, Profile

SHOWN_CLASSES = 20
"""The most classes whose confusion matrix is shown whole."""
SHOWN_GROUPS = 20
"""So many configurations of a sweep are printed; all are in `sweep.json`."""


def summary(rows: Sequence[Row], image_shape: Shape) -> None:
    """Prints what every layer makes of one image, how its shape follows, what it costs and what it sees."""
    console = tables.console()
    header: tuple[str, ...] = ("layer", "", "output", "how", "parameters", "=", "MACs", "bytes", "sees", "jump")
    image = ("input", "", show(image_shape), f"{math.prod(image_shape):,} values", "", "", "", "", "1x1", "1")
    lines = [image, *map(_line, rows)]
    right, parts = ("=", "MACs", "bytes"), (slice(1, 10), slice(1, 6), slice(6, 10))
    fits = (
        tables.tabulated(console, header[:1] + header[part], [row[:1] + row[part] for row in lines], right=right)
        for part in parts
    )
    if not next(fits) and not all(fits):
        tables.stacked(console, header, lines, title=2, hidden=("", "0"))
    trained, measured = count_parameters(rows), count_parameters(rows, "batch_stats")
    also = f"; {measured:,} batch statistics" if measured else ""
    console.print(f"{trained:,} parameters = {4 * trained:,} bytes of float32{also}")
    console.print(f"{sum(row.macs for row in rows):,} multiply-accumulates an image")
    total = activation_bytes(image_shape) + sum(activation_bytes(row.output) for row in rows)
    console.print(f"{total:,} bytes of float32 activations an image, input included")


def _line(row: Row) -> tuple[str, ...]:
    jump = row.field.jump
    return (
        row.path,
        written(row.layer),
        show(row.output),
        row.formula,
        row.arithmetic,
        f"{row.count():,}" if row.parameters else "0",
        f"{row.macs:,}" if row.macs else "0",
        f"{activation_bytes(row.output):,}",
        row.field.sees,
        "?" if not row.field.known else "" if jump is None else str(jump[0]) if jump[0] == jump[1] else show(jump),
    )


def profile(found: "Profile") -> None:
    """Prints where a step's time went, and where its trace is."""

    def line(part: "Part") -> tuple[str, ...]:
        name = part.name + (f" (with {', '.join(part.also)})" if part.also else "")
        numbers = (f"{part.forward:.3f}", f"{part.backward:.3f}" if part.backward else "")
        return name, *numbers, f"{100 * (part.forward + part.backward) / found.milliseconds:.1f} %"

    header = ("", "forward ms", "backward ms", "of the step")
    whole = (part for part in found.parts if part.forward or part.backward)
    tables.table(header, [line(part) for part in whole], right=header[1:], title=1)
    console = tables.console()
    console.print(
        f"{found.milliseconds:.3f} ms a step, the mean of {found.steps}; "
        f"{1000 * found.batch_size / found.milliseconds:,.0f} images/s"
    )
    console.print("what XLA computes in one operation counts for the last layer in it; idle: nothing was computed")
    place = plain(str(found.trace))
    console.print(f"the trace is in {place}: *.trace.json.gz for https://ui.perfetto.dev, *.xplane.pb for TensorBoard")


def evaluation(record: EvaluationRecord) -> None:
    """Prints an evaluation as `evaluation-<split>.json` holds it."""
    console = tables.console()
    console.print(results.accuracy_line(record))
    if skipped := record.get("skipped"):
        verb = "is" if skipped == 1 else "are"
        console.print(f"{counted(skipped, 'picture')} could not be used and {verb} not counted")
    top5 = "" if record["top5_accuracy"] is None else f"top-5 {record['top5_accuracy']:.4f}, "
    console.print(
        f"{top5}loss {record['loss']:.4f}, macro F1 {record['macro_f1']:.4f}, "
        f"expected calibration error {record['ece']:.4f}"
    )
    if further := record.get("metrics"):
        console.print(plain(", ".join(f"{name} {value:.4f}" for name, value in further.items())))
    names = [plain(entry["name"]) for entry in record["classes"]]
    header = ("class", "precision", "recall", "F1", "examples")
    lines = [
        (name, *map(four_digits, (entry["precision"], entry["recall"], entry["f1"])), f"{entry['support']:,}")
        for name, entry in zip(names, record["classes"], strict=True)
    ]
    if not tables.tabulated(console, header, lines, right=header[1:]):
        tables.stacked(console, header, lines, title=1)
    _confusion(console, names, record["confusion"])


def together(record: TogetherRecord) -> None:
    """Prints what `ensemble-<split>.json` holds: each run alone, the runs together, and how the two compare."""
    split = record["split"]
    header = ("run", "seed", record["objective"], f"{split} accuracy", f"{split} loss")
    lines = [
        (plain(each["run"]), str(each["seed"]), *map(four_digits, (each["value"], each["accuracy"], each["loss"])))
        for each in record["members"]
    ]
    tables.table(header, lines, right=header[1:], title=1)
    print(f"the {record['made']} of {len(lines)} runs, {record['weights']} weights:")
    evaluation(record)
    for line in (*single_said(record), *filter(None, [record.get("note")])):
        print(plain(line))


def _confusion(console: Console, names: list[str], counts: list[list[int]]) -> None:
    if len(names) <= SHOWN_CLASSES:
        numbers = [str(index) for index in range(len(names))]
        lines = [
            (name if name == str(index) else f"{index} {name}", *(str(count) if count else "." for count in row))
            for index, (name, row) in enumerate(zip(names, counts, strict=True))
        ]
        if tables.tabulated(console, ("true \\ predicted", *numbers), lines, right=numbers):
            return
    cells = [(count, true, seen) for true, row in enumerate(counts) for seen, count in enumerate(row)]
    wrong = sorted((-count, true, seen) for count, true, seen in cells if true != seen and count)
    console.print("most confused:" if wrong else "none confused")
    for count, true, seen in wrong[:10]:
        console.print(f"  {-count:,} x {names[true]} taken for {names[seen]}")


def filtered(made: filter_strip.Strip, *, strongest: bool) -> None:
    """Prints the sizes and the range of a filter's map, and the sum of its explained pixel."""
    console, found, pixel = tables.console(), made.map, made.pixel
    low, high = hand_convolution.shown(float(found.min())), hand_convolution.shown(float(found.max()))
    pooled = ""
    if made.pool != "none":
        rest = zip(("row", "column"), (side % filter_strip.POOL for side in found.shape), strict=True)
        unread = " and one ".join(name for name, left in rest if left)
        pooled = (
            f"; {filter_strip.POOLED[made.pool]}: {show(made.pooled.shape)}{f', one {unread} unread' if unread else ''}"
        )
    console.print(f"map {show(found.shape)}, numbers from {low} to {high}{pooled}")
    console.print(f"row {pixel.row}, column {pixel.column} of the map{', the strongest' if strongest else ''}:")
    sums([pixel])
    console.print("\n".join(textwrap.wrap(hand_convolution.formula(pixel), console.width, break_long_words=False)))


def sums(pixels: Sequence[hand_convolution.Pixel]) -> None:
    """Prints window x kernel = products, for each channel in turn."""
    console = tables.console()
    for line in (line for pixel in pixels for line in sum_of(pixel, console)):
        console.print(line)


def prediction(name: str, image: np.ndarray, notes: Sequence[str], best: Sequence[tuple[str, float]]) -> None:
    """Prints the picture as the network got it, where colours can be seen, and the best classes with bars."""
    console = tables.console()
    console.print(Text(plain(name), "bold"))
    for note in notes:
        console.print(Text(f"  {note}"))
    pixels = picture(image, console)
    names = [_shortened(plain(label), 40) for label, _ in best]
    wide, across = max(map(len, names)), pixels[0].cell_len + 2 if pixels else 0
    beside = console.width - 2 - across >= wide + 18
    room = min(24, console.width - 2 - wide - 10 - across * beside)
    lines = []
    for label, (_, share) in zip(names, best, strict=True):
        line = f"{label:<{wide}}  {share:.4f}  {bar(share, room, console) if room >= 6 else ''}".rstrip()
        lines.append(line if room > -2 else f"{share:.4f} {_shortened(label, console.width - 9)}")
    if beside:
        for row in range(max(len(pixels), len(lines))):
            left = pixels[row] if row < len(pixels) else Text(" " * (across - 2) if pixels else "")
            right = lines[row] if row < len(lines) else ""
            console.print(Text("  ").append_text(left).append(f"  {right}" if pixels else right))
    else:
        for text in (*pixels, *map(Text, lines)):
            console.print(Text("  ").append_text(text))
    if pixels:
        console.print()


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: max(1, width - 3)]}..."


def ranking(record: Mapping[str, Any], folder: Path) -> None:
    """Prints the groups, best first, whether the winner is real, what mattered, and the best configuration."""
    counts = ", ".join(f"{count} {status}" for status, count in record["counts"].items())
    print(f"{record['size']} trials: {counts}; by {record['objective']}, {record['direction'].replace('ze', 'zed')}")
    if "time" in record["engine"]:
        time = record["engine"]["time"]
        print(
            f"the last command that trained took {time['seconds']:.1f} s, {1 - time['other']:.0%} of them training "
            f"steps and compiling these; trials ran for {record['seconds']:.1f} s in all"
        )
    varying = [path for path in record["varying"] if path not in REPEATS]
    header: tuple[str, ...] = ("rank", record["objective"], "s.d.", "n", *varying, "trials")
    lines = [_group(rank, group, varying) for rank, group in enumerate(record["groups"][:SHOWN_GROUPS], 1)]
    tables.table(header, lines, right=header[:4], title=2)
    if len(record["groups"]) > SHOWN_GROUPS:
        print(f"{len(record['groups']) - SHOWN_GROUPS} more are in sweep.csv")
    print(f"is the winner real? {record['winner']['text']}")
    _mattered(record["importance"])
    for row in record["trials"]:
        if row["status"] in ("failed", "diverged"):
            print(plain(f"{row['folder']} {row['status']}: {redaction.hide(row['error'])}"))
    if record["best"]:
        best = next(row["folder"] for row in record["trials"] if row["number"] == record["best"]["trial"])
        print(plain(f"best configuration: its best trial is {folder / best}"))
        for change in record["best"]["diff"]:
            before = NOT_SET if change["base"] == NOT_SET else repr(change["base"])
            changed = f"    config.{change['path']}: {before} -> {change['best']!r}"
            print(plain(redaction.hide(changed)))
        tested = "" if recorded_data.lacks(folder / best, "test") else ", and evaluate it on the test split"
        print(f"to train it anew{tested}:")
        print(plain(f"    {redaction.hide(record['best']['command'])}"))
    print(plain(f"everything is in {folder}"))


def _group(rank: int, group: GroupRecord, varying: list[str]) -> tuple[str, ...]:
    count = str(group["n"]) if group["n"] == group["of"] else f"{group['n']} of {group['of']}"
    values = [plain(to_text(group["fields"][path])) if path in group["fields"] else "-" for path in varying]
    return (str(rank), four_digits(group["mean"]), four_digits(group["sd"]), count, *values, _numbers(group["trials"]))


def _numbers(numbers: list[int]) -> str:
    whole = len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1))
    return f"{numbers[0]}-{numbers[-1]}" if whole else " ".join(map(str, numbers))


def _mattered(importance: Mapping[str, Any]) -> None:
    if not importance["factors"]:
        if "text" in importance:
            print(f"what mattered: {importance['text']}")
        return
    print(f"what mattered: {importance['method']} over {importance['n']} trials; {importance['caveat']}")
    for factor in importance["factors"]:
        interval = f"{factor['low']:.2f} to {factor['high']:.2f}"
        print(plain(f"    {factor['path']} {factor['share']:.2f} ({interval})"))
