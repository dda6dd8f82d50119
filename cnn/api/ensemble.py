"""Several runs as one classifier: an ensemble of a sweep's seeds, or the average of their weights."""

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from cnn.api import export, notebook_html, reading
from cnn.api.results import Predictions, SplitEvaluation
from cnn.api.run import Pictures, Run, as_paths, checked_images, interruptible, predictions_of
from cnn.config.config import ConfigError
from cnn.data import user_images
from cnn.data.sources.arrays import Arrays
from cnn.data.types import SPLITS
from cnn.ensembles import members as ensemble_members
from cnn.ensembles.members import Member, Members
from cnn.ensembles.record import PROBABILITIES, WEIGHTS, MemberRecord, TogetherRecord, single_said
from cnn.report import escape
from cnn.runs import recorded_data, run_dir, sweep_record
from cnn.system.text import four_digits

if TYPE_CHECKING:
    from cnn.data.types import Dataset
    from cnn.ensembles.combine import Network
    from cnn.export import Trained

Runs = str | os.PathLike[str] | Sequence[str | os.PathLike[str] | Run]
"""A sweep's directory, or several runs."""


class Together(SplitEvaluation):
    """Runs together on every example of a split, and the one alone that validation chooses, on the same examples."""

    record: TogetherRecord

    @property
    def members(self) -> list[MemberRecord]:
        """Each run: its directory, seed, validation and scores."""
        return self.record["members"]

    @property
    def single(self) -> MemberRecord | None:
        """The member that validation chooses; `None` where none was validated."""
        return self.record.get("single")

    @property
    def p(self) -> float | None:
        """McNemar's exact p for that member and all together being equally good."""
        return self.record["paired"]["p"] if "paired" in self.record else None

    def __repr__(self) -> str:
        together = f"{self.record['made']} of {len(self.members)} runs: {super().__repr__()}"
        return "\n".join([together, *single_said(self.record), *filter(None, [self.record.get("note")])])

    def _repr_html_(self) -> str:
        rows = [
            (
                escape.shortened(each["run"]),
                each["seed"],
                four_digits(each["value"]),
                four_digits(each["accuracy"]),
            )
            for each in self.members
        ]
        return notebook_html.table(("run", "seed", self.record["objective"], self.record["split"]), rows, repr(self))


class Ensemble:
    """Runs that classify together: by the mean of their probabilities, or by one network with their mean weights."""

    def __init__(
        self, members: Members, weights: str | None = None, data: Arrays | None = None, *, average: bool = False
    ) -> None:
        """Takes runs that can be taken together; see `ensemble`."""
        self.members, self._weights, self._data, self._average = members, weights, data, average

    @property
    def runs(self) -> list[Run]:
        """The members."""
        return [Run(member.workdir, data=self._data) for member in self.members.runs]

    @property
    def said(self) -> str:
        """How the runs are combined, in words."""
        return WEIGHTS if self._average else PROBABILITIES

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, one for each probability."""
        first = self.members.first
        return tuple(recorded_data.class_names(first.workdir, first.values.data.classes))

    def averaged(self) -> "Ensemble":
        """Returns the same runs as one network: the mean of their weights, with renewed batch statistics.

        That is sound for runs that start from common trained weights, `config.init_from`; of networks that were trained
        from different random weights it is usually useless.
        """
        return Ensemble(self.members, self._weights, self._data, average=True)

    def evaluate(
        self,
        split: str = "test",
        data_dir: str | None = None,
        data_file: str | None = None,
        out: str | os.PathLike[str] | None = None,
    ) -> Together:
        """Evaluates the runs together and alone on every example of a split, once.

        Writes `ensemble-<split>.json`, or `average-<split>.json`, into the sweep's directory, `-<members>` and
        `-<weights>` in the name where they are not the usual ones; of runs that were named one by one, only into a file
        that is named.

        Args:
          split: train, valid or test.
          data_dir: where the data are, if they have moved.
          data_file: their file; of runs without one, an npz file.
          out: the file to write.

        Raises:
          ConfigError: the split is empty or not the same for all runs, or nothing is saved yet of one.
          DataError: the data are missing or unlike the config.
        """
        from cnn.ensembles import combine

        if split in SPLITS and not data_file:
            ensemble_members.check_split(self.members, split)
        with interruptible():
            dataset = self._dataset(split, data_dir, data_file)
            # Statistics are renewed over the pictures that the runs were trained with.
            own = dataset if data_file is None else None
            made = self._made(own, data_dir) if self._average else None
            record = combine.compared(self.members, self._networks, made, dataset, split)
        first = self.members.first
        name = self._file_name(split)
        if out is not None:
            Path(out).parent.mkdir(parents=True, exist_ok=True)
            run_dir.write_json(Path(out), record)
        elif self.members.folder is not None:
            file = f"{recorded_data.file_name(first.workdir, name, dataset.identity)}.json"
            run_dir.write_json(self.members.folder / file, record)
        return Together(record)

    def predict(self, pictures: Pictures, invert: str = "auto") -> Predictions:
        """Returns what the runs together take pictures for; the logits are logarithms of probabilities.

        Args:
          pictures: files or folders, brought to size as `main.py predict` does; or arrays of the runs' own size.
          invert: whether files are turned light for dark: yes, no, or auto, where their background is the opposite.

        Raises:
          ConfigError: the arrays are no such images, or nothing is saved yet of a run.
          DataError: files cannot be read; all of them are named.
        """
        from cnn import evaluate

        paths, first = as_paths(pictures), self.members.first
        with interruptible():
            if paths is None:
                pixels = checked_images(np.asarray(pictures), first.values.data.image_shape)
                names = tuple(f"image {row}" for row in range(len(pixels)))
                return Predictions(pixels, self._logits(pixels), self.classes, names, ((),) * len(pixels))
            spec = recorded_data.image_spec(first.workdir, first.values.data, reading.check_invert(invert))
            found = user_images.find_images(paths)
            return predictions_of(
                evaluate.predict_with(self._logits, found, spec, first.values.eval.batch_size), self.classes
            )

    def export(self, format: str, path: str | os.PathLike[str] | None = None, input: str = "uint8") -> export.Exported:
        """Writes one file that other programs open; pictures go in, and the probabilities of all together come out.

        Args:
          format: stablehlo, onnx, or of averages safetensors, too.
          path: the file; by default `exports/ensemble.<format>`, or `average`, in the sweep's directory, with members
            and weights in the name as of `evaluate`.
          input: what pictures are given as: uint8, or float32, 0..255 too.

        Raises:
          ConfigError: the format is unknown, lacks a package or cannot hold the networks, or `path` is needed.
          FloatingPointError: the export differs from what `predict` computes.
        """
        folder = self.members.folder
        if path is None and folder is None:
            raise ConfigError(["--out: runs that are named one by one have no folder in common. Name a file"])
        written = export.check(format, folder or Path(), self._file_name(), str(path or ""))
        with interruptible():
            return export.write(self._trained(input), format, written)

    def _file_name(self, *parts: str) -> str:
        """Returns the name of a file about these networks, other members and weights than the usual ones in it."""
        members = [] if self.members.chosen == ensemble_members.SEEDS else [self.members.chosen]
        weights = [self._weights] if self._weights else []
        return "-".join(["average" if self._average else "ensemble", *parts, *members, *weights])

    def _trained(self, intensities: str) -> "Trained":
        from cnn.export import Trained

        first, *others = [
            Trained(each.values, each.classifier, self.classes, each.step, each.weights, intensities)
            for each in ([self._made(None, None)] if self._average else self._networks)
        ]
        return first._replace(others=tuple(others))

    def _logits(self, images: UInt8[np.ndarray, "n height width channels"]) -> np.ndarray:
        import jax.numpy as jnp

        from cnn.ensembles import combine

        networks = [self._made(None, None)] if self._average else self._networks
        return combine.log_probabilities(networks, jnp.asarray(images))

    @cached_property
    def _networks(self) -> "list[Network]":
        from cnn.ensembles import combine

        return combine.restored(self.members, self._weights)

    def _made(self, dataset: "Dataset | None", data_dir: str | None) -> "Network":
        """Returns the average; the data of its runs are loaded where they are needed and not given."""
        if self._average_known is None:
            from cnn.ensembles import combine

            needed = combine.renews(self._networks[0])
            if needed and dataset is None:
                dataset = self._dataset("train", data_dir, None)
            self._average_known = combine.averaged(self.members, self._networks, dataset if needed else None)
        return self._average_known

    _average_known: "Network | None" = None

    def _dataset(self, split: str, data_dir: str | None, data_file: str | None) -> "Dataset":
        first = self.members.first
        return reading.dataset(first.values, first.workdir, split, data_dir, data_file)

    def __repr__(self) -> str:
        lines = [f"{self.said} of {len(self.members.runs)} runs"]
        for member in self.members.runs:
            lines.append(f"{member.workdir}: {self.members.objective} {four_digits(member.value)}")
        return "\n".join(lines)


def ensemble(
    runs: Runs,
    members: str | int = ensemble_members.SEEDS,
    weights: str | None = None,
    extensions: str | Sequence[str] = (),
    data: Arrays | None = None,
) -> Ensemble:
    """Takes several runs together.

    Args:
      runs: a sweep's directory, or the directories of runs, or runs that are open.
      members: of a sweep: "seeds", the trials of its best configuration; "all" that finished; or a number, so many with
        the best objective.
      weights: last, best or ema; `None` for what each run's config says.
      extensions: files with the runs' own code, where they are not what and where they were.
      data: the arrays that they were trained with, or others to evaluate them on.

    Raises:
      ConfigError: there are fewer than two, or they differ in their classes or the shape of their pictures.
    """
    if weights is not None:
        reading.check_weights(weights)
    if isinstance(runs, (str, os.PathLike)):
        folder = Path(runs)
        if not sweep_record.is_sweep(folder):
            run_dir.read_config(folder)
            raise ConfigError([f"--workdir: {folder} is one run. Name a sweep, or several runs: --workdir=RUN1,RUN2"])
        found = ensemble_members.of_sweep(folder, str(members))
        read = [
            Member(workdir, reading.read_run(workdir, extensions, data), value)
            for workdir, value in zip(found.workdirs, found.values, strict=True)
        ]
        together = ensemble_members.checked(Members(tuple(read), found.objective, found.higher, folder, str(members)))
        return Ensemble(together, weights, data)
    if str(members) != ensemble_members.SEEDS:
        raise ConfigError([f"--members: is of a sweep, got {members} and runs that are named. Leave it out"])
    workdirs = [run.workdir if isinstance(run, Run) else Path(run) for run in runs]
    together = ensemble_members.of_runs(
        [(workdir, reading.read_run(workdir, extensions, data)) for workdir in workdirs]
    )
    return Ensemble(ensemble_members.checked(together), weights, data)


def of_flags(flags: Mapping[str, str]) -> Ensemble:
    """Returns what `--workdir`, `--members`, `--weights`, `--extensions` and `--ensemble` or `--average` ask for."""
    if "ensemble" in flags and "average" in flags:
        raise ConfigError(["--average: is given with --ensemble. Keep one"])
    text = flags["workdir"]
    listed = reading.listed(text)
    several = len(listed) > 1 and not Path(text).exists()
    extensions = reading.listed(flags.get("extensions", ""))
    given: Runs = listed if several else text
    found = ensemble(given, flags.get("members", ensemble_members.SEEDS), flags.get("weights"), extensions)
    return found.averaged() if "average" in flags else found
