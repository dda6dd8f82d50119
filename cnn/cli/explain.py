"""`explain`: what every layer did to chosen images, checked, as a page."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnn.api import reading
from cnn.cli import parser, printing
from cnn.config.config import Config, ConfigError
from cnn.data import decode, user_images
from cnn.data.user_images import UnreadableImage
from cnn.report import hand_convolution, run_page
from cnn.report.journey import journey_file, packing, walkthrough
from cnn.report.journey.journey_file import Journey
from cnn.runs import lock, recorded_data
from cnn.system.preemption import Preemption
from cnn.system.text import plain

if TYPE_CHECKING:
    from cnn.explain.journey import Chosen

MOST_IMAGES = 64


def run(values: Config, workdir: Path, flags: Mapping[str, str], *, words: Sequence[str]) -> int:
    """Writes `journey.npz`, `practice.npz` where it has the run's pictures, and the page; prints one number's sum.

    Raises:
      ConfigError: a flag is wrong, the split is empty, or nothing is saved yet.
      DataError: the data are missing, or a picture cannot be read.
      FloatingPointError: an output is not finite, or does not follow from what it is made of.
    """
    count, max_mb = _checked(values, flags, words)
    with Preemption():
        journey = _follow(values, workdir, flags, words, count, max_mb)
    path = run_page.write(workdir, running=lock.is_held(workdir))
    _print(journey)
    from cnn import evaluate  # JAX takes a second to import

    if views := evaluate.views_of(values).get("views"):
        print(f"of each picture as it is, without eval.views={views}, over which eval and predict average")
    print(f"the journeys are in {plain(str(path))}")
    return 0


def _checked(values: Config, flags: Mapping[str, str], words: Sequence[str]) -> tuple[int, float]:
    problems = []
    count, text = flags.get("images", "8"), flags.get("max_mb", "3")
    if not (parser.is_number(count) and int(count) <= MOST_IMAGES):
        problems.append(f"--images: must be a whole number from 1 to {MOST_IMAGES}, got {count!r}")
    try:
        largest = float(text)
    except ValueError:
        largest = 0.0
    most = packing.HARD_STOP / packing.MEGABYTE
    if not 1 <= largest <= most:
        problems.append(f"--max_mb: must be a number of megabytes from 1 to {most:g}, got {text!r}")
    for name in ("choose", "split", "data_dir", "data_file", "images"):
        if words and name in flags:
            problems.append(f"--{name}: is given with pictures of your own. Leave one or the other out")
    if words and values.data.image_shape[2] not in (1, 3):
        channels = values.data.image_shape[2]
        problems.append(f"--workdir: pictures have 1 channel (grey) or 3 (colour), and the run's images {channels}")
    if problems:
        raise ConfigError(problems)
    return int(count), largest


def _follow(
    values: Config, workdir: Path, flags: Mapping[str, str], words: Sequence[str], count: int, max_mb: float
) -> Journey:
    from cnn.explain import practice
    from cnn.explain.journey import capture, follow_split
    from cnn.train import checkpointer

    weights = flags.get("weights", values.eval.weights)
    own = _own(values, workdir, flags, words) if words else []
    step, classifier = checkpointer.restore_classifier(values, workdir, weights)
    about: dict[str, Any] = {"step": step, "weights": weights, "max_mb": max_mb}
    if own:
        classes = recorded_data.class_names(workdir, values.data.classes)
        followed = capture(values, classifier, own, classes, about)
        journey_file.write(workdir / journey_file.JOURNEY, followed)
        return followed
    split = flags.get("split", "test")
    dataset = reading.dataset(values, workdir, split, flags.get("data_dir"), flags.get("data_file"))
    kind = flags.get("choose", "confused")
    journey = follow_split(values, workdir, classifier, dataset, split, about, kind=kind, count=count)
    practice.write(values, workdir, dataset)
    return journey


def _own(values: Config, workdir: Path, flags: Mapping[str, str], words: Sequence[str]) -> list["Chosen"]:
    """Returns the user's own pictures; one that cannot be read is said, and stops no other."""
    from cnn.explain.journey import Chosen

    spec = recorded_data.image_spec(workdir, values.data, flags.get("invert", "auto"))
    chosen: list[Chosen] = []
    problems = []
    with decode.bombs_are_errors():
        for file in user_images.find_images(words):
            read = user_images.read_user_image(file, spec)
            if isinstance(read, UnreadableImage):
                problems.append(f"picture {read.path!r}: {read.reason}")
            elif len(chosen) < MOST_IMAGES:
                chosen.append(Chosen(Path(read.path).name, "; ".join(read.notes) or "your own picture", read.image))
    if not chosen:
        raise ConfigError(problems)
    for problem in problems:
        print(plain(problem), file=sys.stderr)
    return chosen


def _print(journey: Journey) -> None:
    about = journey.about
    for picture in journey.pictures:
        outputs = walkthrough.forward(journey, picture)
        (name, share), *_ = walkthrough.chances(journey, outputs)
        true = "" if picture.label is None else f", truly {plain(journey.classes[picture.label])}"
        print(f"{plain(picture.name)} ({picture.why}): {plain(name)} {share:.2f}{true}")
    outputs = walkthrough.forward(journey, journey.pictures[0])
    example = walkthrough.example(journey, outputs)
    if example is not None:
        place = f"filter {example.feature}, row {example.row}, column {example.column}"
        print(f"\n{example.stage.name} of {plain(journey.pictures[0].name)}, {place}; it sees {example.sees}")
        channels = [hand_convolution.Pixel(example.row, example.column, *parts) for parts in example.parts]
        printing.sums(channels)
        print(f"{' '.join(f'{label} {value}' for label, value in example.terms)} = {example.total}")
        print(f"jax {about['jax']} computed {example.found:.9g}\n")
    print(
        f"{about['numbers']:,} of {about['numbers']:,} numbers of each image agree with the float64 sums, "
        f"within what rounding may make{f'; not checked: {journey.unchecked}' if journey.unchecked else ''}"
    )
