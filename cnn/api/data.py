"""Data before training: loaded as arrays, looked at, and drawn on a sheet."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image

from cnn.api import notebook_html
from cnn.config import files, sections
from cnn.config.files import ConfigLike
from cnn.data.order import permutation
from cnn.data.sources.arrays import Arrays
from cnn.data.types import UNUSABLE, Dataset, Split, take_images
from cnn.layers.base import show
from cnn.report import colormap, picture_sheet
from cnn.system.text import aligned

if TYPE_CHECKING:
    from cnn.data.inspection import Facts, SplitFacts

COLUMNS, CLASSES, DRAWS = 10, 50, 3
"""Of a sheet: pictures of a class, the most classes, and what training makes of each picture, so many times."""
SHOWN_CLASSES = 40
"""So many classes are listed whole; of more, the half of that with the most pictures, and with the fewest."""
SHEET_KEY = 0x73686565_00000001

Table = tuple[tuple[str, ...], list[tuple[str, ...]]]
"""The names of the columns, and the cells of each line."""


def load_data(config: ConfigLike = "digits", data: Arrays | None = None) -> "LoadedData":
    """Returns a config's pictures: `train`, `valid` and `test`, each with `images` (uint8) and `labels`.

    Args:
      config: a name, a file or a `ConfigDict`.
      data: arrays in place of the data that it names, see `run`.

    Raises:
      ConfigError: lists everything that is wrong with the config.
      DataError: the data are missing or unlike the config.
    """
    values = files.resolved(config, data)
    return loaded(values.data, values.seed)


def loaded(data: sections.Data, seed: int) -> "LoadedData":
    """Returns the pictures that a section names.

    Args:
      data: of a config.
      seed: its own, of which a sheet's augmentations are drawn.

    Raises:
      DataError: the data are missing or unlike the config.
    """
    from cnn.train import preflight  # JAX takes seconds to import

    found = preflight.load_data(data)
    fields = {field.name: getattr(found, field.name) for field in dataclasses.fields(found)}
    return LoadedData(**fields, section=data, seed=seed)


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class LoadedData(Dataset):
    """The three splits of a config, which a notebook shows as a table and some of their pictures.

    `images` of a split are an array, unless the data are too large for the memory: then they are read from where they
    are stored whenever some are asked for, by index.
    """

    section: sections.Data
    """Of the config."""
    seed: int
    """Of the config."""

    def summary(self, *, whole: bool = False) -> "DataSummary":
        """Returns what `main.py data` tells; see `inspect`."""
        return inspect(self.section, whole=whole)

    def sheet(self, *, columns: int = COLUMNS, augmented: bool = False) -> Image.Image:
        """Draws some training pictures of each class; see `sheet`."""
        return sheet(self, columns=columns, augment=self.section.augment if augmented else (), seed=self.seed)

    def _counts(self) -> Table:
        splits = {name: getattr(self, name) for name in ("train", "valid", "test")}
        return class_table(
            self.class_names,
            {name: split.counts(len(self.class_names)).tolist() for name, split in splits.items()},
        )

    def __repr__(self) -> str:
        kept = "read from where they are stored" if self.streams else "in memory"
        sizes = ", ".join(f"{len(getattr(self, name)):,} {name}" for name in ("train", "valid", "test"))
        shape = show(self.train.images.shape[1:])
        return f"{self.section.name}: {sizes}; {len(self.class_names)} classes, pictures of {shape}, {kept}"

    def _repr_html_(self) -> str:
        small = sheet(self, columns=8, classes=10)
        drawn = colormap.picture(np.asarray(small), *small.size, "training pictures of each class")
        return notebook_html.stacked([notebook_html.table(*self._counts(), repr(self)), drawn])


def inspect(data: sections.Data, *, whole: bool = False) -> "DataSummary":
    """Looks at the data that a section names, also where they do not fit it.

    Args:
      data: of a config.
      whole: reads every picture, however many there are.

    Raises:
      DataError: they are missing, or cannot be read whatever the config says of them.
    """
    from cnn.data import inspection
    from cnn.train import preflight

    facts, dataset = inspection.inspect(data, preflight.memory_budget(data), whole=whole)
    return DataSummary(facts, dataset)


@dataclasses.dataclass(frozen=True, repr=False)
class DataSummary:
    """What there is of data; `facts` holds it as numbers."""

    facts: "Facts"
    dataset: Dataset
    """As it was looked at, nothing of it in memory."""

    def lines(self) -> list[str]:
        """Returns what is told before the tables."""
        facts = self.facts
        identity = f", identity {facts.identity[:12]}" if facts.identity else ""
        read = "all of them looked at" if facts.unusable else "all of them read"
        if facts.examined < facts.pictures:
            read = f"a fixed sample of {facts.examined:,} read, of which all but the counts is told"
        lines = [
            f"{facts.name}{identity}",
            f"{facts.pictures:,} pictures, {read}, as {show(facts.image_shape)} by config.data.resize={facts.resize}",
        ]
        if any(split.sizes for split in facts.splits.values()):
            lines.append("sizes are height x width")
        return lines

    def splits(self) -> Table:
        """Returns a line for each split: what there is, and how it is stored."""
        header = ("split", "pictures", "classes", "largest : smallest", "smallest", "most are", "largest", "stored as")
        return header, [_split_line(name, split) for name, split in self.facts.splits.items() if any(split.counts)]

    def classes(self) -> Table:
        """Returns a line for each class: how many pictures each split has of it, and which share that is."""
        return class_table(self.facts.class_names, {name: split.counts for name, split in self.facts.splits.items()})

    def numbers(self) -> list[str]:
        """Returns what is told after the tables: the numbers for a config, and what the data need."""
        facts, (need, budget) = self.facts, self.facts.memory
        lines = []
        if facts.mean:
            sample = "" if facts.splits["train"].examined == sum(facts.splits["train"].counts) else " that were read"
            lines += [
                f"of the training pictures{sample}, intensities in [0, 1]:",
                f"config.data.mean = {_tuple(facts.mean)}",
                f"config.data.std = {_tuple(facts.std)}",
            ]
        how = "stream, batch by batch, from where they are stored" if facts.streams else "are read into memory once"
        limit = "" if budget == float("inf") else f"; {_bytes(budget)} may be taken (config.data.memory_share)"
        return [*lines, f"decoded they need {_bytes(need)}{limit}: they {how}"]

    def to_json(self) -> dict[str, object]:
        """Returns everything as JSON values."""
        facts = self.facts
        whole = dataclasses.asdict(dataclasses.replace(facts, splits={}, copies=(), unusable=(), memory=(0, 0.0)))
        return {
            **whole,
            "memory": {"need": facts.memory[0], "budget": facts.memory[1]},
            "splits": {name: _split_json(split) for name, split in facts.splits.items()},
            "copies": [[copy._asdict() for copy in group] for group in facts.copies],
            "unusable": [each._asdict() for each in facts.unusable],
        }

    def __repr__(self) -> str:
        tables = [aligned([header, *rows]) for header, rows in (self.splits(), self.classes())]
        blocks = [self.lines(), *tables, [*self.numbers(), *self.facts.remarks, *self.facts.refusals]]
        return "\n\n".join(map("\n".join, blocks))

    def _repr_html_(self) -> str:
        said = [*self.facts.refusals, *self.facts.remarks, *self.numbers()]
        return notebook_html.stacked(
            [
                notebook_html.table(*self.splits(), "; ".join(self.lines())),
                notebook_html.table(*self.classes()),
                notebook_html.table(("",), [(line,) for line in said]),
            ]
        )


def _split_line(name: str, split: "SplitFacts") -> tuple[str, ...]:
    present = sum(count > 0 for count in split.counts)
    classes = f"{present}" if present == len(split.counts) else f"{present} of {len(split.counts)}"
    sizes: tuple[str, str, str] = ("", "", "")
    if split.sizes:
        by_area = sorted(split.sizes, key=lambda size: (size[0] * size[1], size))
        common, count = split.sizes.most_common(1)[0]
        share = f" ({count / split.sizes.total():.0%})" if len(split.sizes) > 1 else ""
        sizes = show(by_area[0]), f"{show(common)}{share}", show(by_area[-1])
    formats = [f"{kind} {count:,}" if len(split.formats) > 1 else kind for kind, count in split.formats.most_common()]
    grey = f", {split.grey:,} in grey" if 0 < split.grey < split.sizes.total() else ", grey" if split.grey else ""
    kept = f"{', '.join(formats)}{grey}" if formats else "numbers"
    return (name, f"{sum(split.counts):,}", classes, f"{split.ratio:.1f} : 1", *sizes, kept)


def class_table(names: Sequence[str], counts: Mapping[str, Sequence[int]]) -> Table:
    """Returns a line for each class, or for those with the most and the fewest pictures of `train` where it has many.

    Args:
      names: of the classes.
      counts: how many pictures each class has, by split.
    """
    present = {name: numbers for name, numbers in counts.items() if any(numbers)}
    header = ("class", *present)
    lines = []
    for label, name in enumerate(names):
        shown = name if name == str(label) else f"{label} {name}"
        cells = (f"{numbers[label]:,}  {numbers[label] / sum(numbers):6.1%}" for numbers in present.values())
        lines.append((shown, *cells))
    if len(lines) <= SHOWN_CLASSES:
        return header, lines
    order = sorted(range(len(names)), key=lambda label: (-counts["train"][label], label))
    half = SHOWN_CLASSES // 2
    between = (f"({len(lines) - 2 * half:,} more)", *("" for _ in present))
    return header, [*(lines[label] for label in order[:half]), between, *(lines[label] for label in order[-half:])]


def _split_json(split: "SplitFacts") -> dict[str, object]:
    return {
        "counts": list(split.counts),
        "examined": split.examined,
        "sizes": [{"height": h, "width": w, "pictures": n} for (h, w), n in split.sizes.most_common()],
        "formats": dict(split.formats),
        "grey": split.grey,
    }


def _tuple(numbers: Sequence[float]) -> str:
    return f"({', '.join(f'{number:.4f}' for number in numbers)}{',' if len(numbers) == 1 else ''})"


def _bytes(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:,.0f} {unit}" if unit == "bytes" else f"{count:,.1f} {unit}"
        count /= 1000
    raise AssertionError


def sheet(
    dataset: Dataset,
    *,
    columns: int = COLUMNS,
    classes: int = CLASSES,
    augment: Sequence[Any] = (),
    seed: int = 0,
) -> Image.Image:
    """Draws some training pictures of each class as the network sees them: a fixed choice, a row for each class.

    Args:
      dataset: whose.
      columns: how many pictures of a class.
      classes: the most that are drawn, the first ones.
      augment: a config's augmentations; what they make of each picture is drawn below it, `DRAWS` times.
      seed: of which the augmentations are drawn.
    """
    shown = min(classes, len(dataset.class_names))
    chosen = [_chosen(dataset.train, label, columns) for label in range(shown)]
    shape = dataset.train.images.shape[1:]
    counts = dataset.train.counts(len(dataset.class_names))
    pictures = [take_images(dataset.train.images, rows) for rows in chosen]
    draws: list[np.ndarray] | list[None] = [None] * shown
    if augment and any(map(len, chosen)):
        larger = take_images(dataset.training.images, np.concatenate(chosen))
        labels = np.repeat(np.arange(shown), list(map(len, chosen)))
        made = _augmented(augment, larger, labels, shape[:2], seed).swapaxes(0, 1)
        draws = np.split(made, np.cumsum(list(map(len, chosen)))[:-1])
    rows = [
        picture_sheet.SheetRow(label, dataset.class_names[label], int(counts[label]), pictures[label], draws[label])
        for label in range(shown)
    ]
    of = f", the first {shown} of {len(dataset.class_names):,} classes" if shown < len(dataset.class_names) else ""
    title = f"train: {len(dataset.train):,} pictures of {show(shape)}{of}"
    title += f"; below each {DRAWS} augmented ones" if augment else ""
    return picture_sheet.draw(rows, shape, title)


def png(picture: Image.Image) -> bytes:
    """Returns a picture as a PNG file."""
    return colormap.png(np.asarray(picture))


def _chosen(split: Split, label: int, columns: int) -> Int64[np.ndarray, " chosen"]:
    """Returns the rows of pictures of a class that can be used, a fixed choice."""
    of_class = np.flatnonzero(split.labels == label)
    order = of_class[permutation(SHEET_KEY, label, len(of_class))]
    chosen = order[:0]
    while len(order) and len(chosen) < columns:
        tried, order = order[: columns - len(chosen)], order[columns - len(chosen) :]
        take_images(split.images, tried)  # only reading them tells which cannot be used
        chosen = np.concatenate([chosen, tried[split.marked(tried) != UNUSABLE]])
    return chosen


def _augmented(
    kinds: Sequence[Any],
    images: UInt8[np.ndarray, "n rows columns channels"],
    labels: Int64[np.ndarray, " n"],
    size: tuple[int, int],
    seed: int,
) -> UInt8[np.ndarray, "draws n height width channels"]:
    """Returns what a chain of augmentations makes of pictures, so many times, as a training step would."""
    import jax
    import jax.numpy as jnp

    from cnn.data.augment import augment

    # Mixing takes the row before: as in a batch, that should be a picture of any class.
    mixed = permutation(SHEET_KEY, len(images), len(images))
    intensities = jnp.asarray(images[mixed], jnp.float32) / 255
    rows = jax.nn.one_hot(labels[mixed], int(labels.max()) + 1)
    chain = jax.jit(functools.partial(augment, tuple(kinds), size=size))
    made = np.zeros((DRAWS, len(images), *size, images.shape[3]), np.uint8)
    for of_draw, key in zip(made, jax.random.split(jax.random.key(seed), DRAWS), strict=True):
        of_draw[mixed] = np.round(np.asarray(chain(intensities, rows, key)[0]) * 255).astype(np.uint8)
    return made
