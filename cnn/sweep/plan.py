"""A whole sweep, checked: its trials as configs, and the command that runs each alone. Imports no JAX."""

import dataclasses
import hashlib
import json
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cnn.config import resolve
from cnn.config.config import Config, ConfigError, Override
from cnn.fields import to_text
from cnn.sweep.options import Grid, Options
from cnn.sweep.reading import Asked
from cnn.sweep.space import Choices, Part, Range, sample
from cnn.system import redaction

SEED = "seed"
TRIALS = "trials"
RECORD = "sweep.json"
"""What is known of the trials, ranked."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """One point of a sweep as a config."""

    number: int
    fields: Mapping[str, Any]
    """What the sweep set, in the order declared."""
    values: Config
    params: Mapping[str, Any]
    """The point as Optuna knows it."""

    @property
    def folder(self) -> str:
        """The run's directory below the sweep's."""
        return f"{TRIALS}/{self.number:04}"


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is swept, and how."""

    base: Mapping[str, Any]
    """The sections of the config file."""
    asked: Asked
    options: Options
    space: tuple[Part, ...]
    """Without the seeds where a sampler draws: each configuration is run with all of them."""
    seeds: tuple[Any, ...]
    trials: tuple[Trial, ...]
    """Of a grid; a sampler draws its own."""
    json: Mapping[str, Any]
    """What must be the same for a sweep to continue."""
    epochs: int = 1
    """Of the longest trial."""
    checked: tuple[Trial, ...] = ()
    """The trials of a grid; otherwise such as its sampler may draw."""
    configurations: int = 0
    """How many a sampler draws: those asked for, or all that the space has where these are fewer."""

    @property
    def is_grid(self) -> bool:
        return isinstance(self.options.sampler, Grid)

    @property
    def example(self) -> Trial:
        """A trial that stands for all."""
        return self.checked[0]

    @property
    def size(self) -> int:
        """The number of trials."""
        return len(self.trials) if self.is_grid else self.configurations * len(self.seeds)

    @property
    def identity(self) -> str:
        """Eight digits that tell one sweep from another."""
        return hashlib.sha256(json.dumps(self.json, sort_keys=True).encode()).hexdigest()[:8]

    def trial(self, number: int, fields: Mapping[str, Any], params: Mapping[str, Any]) -> Trial:
        """Returns a point as a config.

        Raises:
          ConfigError: it is none.
        """
        return Trial(number, fields, resolve.resolve(self.base, self._overrides(fields)), params)

    def _overrides(self, fields: Mapping[str, Any]) -> list[Override]:
        return [*self.asked.overrides, *(Override(path, to_text(value)) for path, value in fields.items())]

    def flags(self, fields: Mapping[str, Any]) -> list[str]:
        """Returns the arguments of `main.py` that make a point's config."""
        file = [f"--config={self.asked.config}"] if self.asked.config else []
        return ["train", *file, *(f"--config.{path}={value}" for path, value in self._overrides(fields))]

    def line(self, fields: Mapping[str, Any], workdir: Path) -> str:
        """Returns what a person types to run a point alone, in its place; passwords in URLs are hidden."""
        return shlex.join(["python", "main.py", *redaction.words(self.flags(fields)), f"--workdir={workdir}"])

    def again(self, fields: Mapping[str, Any], workdir: Path) -> str:
        """Returns what a person types to train a point anew; the test split is read at its end, as choosing is over."""
        read = [] if self.trial(0, fields, {}).values.eval.test else ["--config.eval.test=True"]
        flags = [flag for flag in self.flags(fields) if not (read and flag.startswith("--config.eval.test="))]
        return shlex.join(["python", "main.py", *flags, *read, f"--workdir={workdir}"])

    def base_values(self) -> dict[str, Any] | None:
        """Returns the config that nothing was swept of, `None` where it is none by itself."""
        try:
            return json.loads(resolve.resolve(self.base, list(self.asked.overrides)).json)
        except ConfigError:
            return None


def drawn(plan: Plan, draw: Callable[[str, Choices | Range], Any]) -> dict[str, Any]:
    """Returns the fields of a configuration, each drawn."""
    return sample(plan.space, draw)
