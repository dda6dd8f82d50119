"""`diff`: what two runs differ in, and whether one is better on the same examples."""

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cnn.cli import tables
from cnn.config.config import ConfigError
from cnn.runs import compare
from cnn.runs.compare import Comparison, Difference, Paired
from cnn.system.text import plain

LEVEL = 0.05
LONGEST = 60
"""Letters of a value that a table shows."""


def run(flags: Mapping[str, str], *, words: Sequence[str]) -> int:
    """Prints the comparison; reads no data and imports no JAX.

    Raises:
      ConfigError: not two directories with runs.
      BrokenFile: a file cannot be what this software wrote.
    """
    if len(words) != 2:
        raise ConfigError([f"diff: takes two runs, got {len(words)}. Write python main.py diff runs/a runs/b"])
    split = flags.get("split", "test")
    found = compare.runs(Path(words[0]), Path(words[1]), split)
    if "json" in flags:
        print(json.dumps(_plain(found, words)))
        return 0
    names = [plain(word) for word in words]
    print(f"a  {names[0]}\nb  {names[1]}\n")
    for title, differences in (("config", found.config), ("software", found.software), ("data", found.data)):
        _show(title, differences)
    same = [each for each in found.results if each.name == "fingerprint" and each.a == each.b]
    _show("result", [each for each in found.results if each.name != "fingerprint"])
    if same:
        print("the trained parameters are the same, bit for bit\n")
    if found.paired:
        print(verdict(split, found.paired))
    if found.note:
        print(plain(found.note))
    return 0


def verdict(split: str, paired: Paired) -> str:
    """Says what a paired test found, in lines."""
    low, high = (f"{100 * edge:+.2f}" for edge in paired.interval)
    if paired.p >= LEVEL:
        meaning = "no difference can be told from chance"
    else:
        meaning = f"{'b' if paired.difference > 0 else 'a'} is better on these examples"
    return "\n".join(
        [
            f"on the same {paired.examples:,} examples of {split}:",
            f"  right: {paired.both:,} both, {paired.only_a:,} only a, {paired.only_b:,} only b",
            f"  b - a is {100 * paired.difference:+.2f} points (95 % interval {low} to {high})",
            f"  McNemar's exact p = {paired.p:.2g}: {meaning}",
            "  another seed would differ, too",
        ]
    )


def _show(title: str, differences: Sequence[Difference]) -> None:
    if not differences:
        print(f"{title}: the same\n")
        return
    lines = [[plain(each.name), *_texts(each.a, each.b)] for each in differences]
    tables.table((title, "a", "b"), lines, right=(), title=1)


def _texts(a: Any, b: Any) -> tuple[str, ...]:
    """Returns two values as text; of long ones the part in which they differ."""
    texts = [_text(value) for value in (a, b)]
    if texts[0] == texts[1] and a != b:
        texts = [json.dumps(value) for value in (a, b)]
    if max(map(len, texts)) > LONGEST:
        begin = sum(itertools.takewhile(bool, (x == y for x, y in zip(*texts, strict=False))))
        texts = [f"...{text[begin - 10 :]}" if begin > 10 + len("...") else text for text in texts]
    return tuple(text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..." for text in texts)


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        value = ", ".join(value)
    return plain(" ".join(value.split())) if value and isinstance(value, str) else json.dumps(value)


def _plain(found: Comparison, words: Sequence[str]) -> dict[str, object]:
    parts = ("config", "software", "data", "results")
    differences = {name: [each._asdict() for each in getattr(found, name)] for name in parts}
    return {
        "a": words[0],
        "b": words[1],
        **differences,
        "paired": found.paired and found.paired._asdict(),
        "note": found.note,
    }
