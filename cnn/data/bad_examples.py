"""The pictures of a dataset that cannot be used, where the config says to go on without them."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, TypedDict


class BadExample(NamedTuple):
    """One picture: which part of the source it lies in, its row there, its name, and what is wrong with it."""

    part: str
    row: int
    picture: str
    reason: str


class BadExampleJson(TypedDict):
    """A `BadExample` as a run's file holds it."""

    part: str
    row: int
    picture: str
    reason: str


class BadExamples:
    """A list that many threads may add to; each picture is on it once."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, int], BadExample] = {}
        self._told: dict[Path, set[tuple[str, int]]] = {}

    def __len__(self) -> int:
        return len(self._found)

    def add(self, example: BadExample) -> None:
        """Adds a picture, unless it is listed."""
        self._found.setdefault((example.part, example.row), example)

    def fresh(self, workdir: Path) -> list[BadExample]:
        """Returns those that this did not return before for the run in this directory, in order."""
        told = self._told.setdefault(workdir, set())
        new = [key for key in list(self._found) if key not in told]
        told.update(new)
        return [self._found[key] for key in sorted(new)]

    def to_json(self) -> list[BadExampleJson]:
        """Returns all of them, in order."""
        examples = [self._found[key] for key in sorted(self._found)]
        return [BadExampleJson(part=part, row=row, picture=name, reason=why) for part, row, name, why in examples]

    def recall(self, listed: Iterable[BadExampleJson], workdir: Path) -> None:
        """Adds those that an earlier process of the run in this directory listed, and told the user about."""
        for entry in listed:
            self.add(BadExample(**entry))
            self._told.setdefault(workdir, set()).add((entry["part"], entry["row"]))
