"""What runs make of pictures together, and how that compares with the best of them alone.

An ensemble's probabilities are the plain mean of its members', each member computed as `eval` computes it; networks of
one structure are one compiled program, called once for each. An average is one network whose weights are the plain mean
of the members', and whose batch statistics are renewed over the training pictures, as they are no mean of the members'.

Source:
  Lakshminarayanan et al. 2017, https://arxiv.org/abs/1612.01474, section 2.4, of the mean of probabilities.
  Wortsman et al. 2022, https://arxiv.org/abs/2203.05482, section 2, of the mean of weights.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float64, UInt8

from cnn import evaluate, losses
from cnn.config.config import Config, ConfigError
from cnn.data import types
from cnn.ensembles import members as ensemble_members
from cnn.ensembles.members import Members
from cnn.ensembles.record import PROBABILITIES, WEIGHTS, MemberRecord, PairedRecord, TogetherRecord
from cnn.evaluate import EvalConfig
from cnn.layers.base import show
from cnn.layers.normalisation import BatchNorm
from cnn.model.classifier import Classifier, flatten
from cnn.runs import compare, recorded_data
from cnn.train import checkpointer, renew
from cnn.train.run import batches
from cnn.train.state import make_step_config


class Network(NamedTuple):
    """A network, its run's config, the updates behind it, and which weights of the run they are."""

    values: Config
    classifier: Classifier
    step: int
    weights: str


def restored(members: Members, weights: str | None = None) -> list[Network]:
    """Returns the networks of runs.

    Args:
      members: the runs.
      weights: last, best or ema; `None` for what each run's config says.

    Raises:
      ConfigError: nothing is saved of one, or not these weights.
    """
    networks = []
    for run in members.runs:
        named = weights or run.values.eval.weights
        step, classifier = checkpointer.restore_classifier(run.values, run.workdir, named)
        networks.append(Network(run.values, classifier, step, named))
    return networks


def log_probabilities(
    networks: Sequence[Network], images: UInt8[Array | np.ndarray, "n height width channels"] | types.Stored
) -> Float64[np.ndarray, "n classes"]:
    """Returns the logarithm of the mean probabilities, which serves as logits: its softmax is that mean.

    Raises:
      FloatingPointError: a logit is not finite.
    """
    return losses.log_mean_softmax(_logits(networks, images))


def _logits(networks: Sequence[Network], images: Any) -> Iterator[np.ndarray]:
    for network in networks:
        yield evaluate.predict_logits(network.classifier, images, EvalConfig.at_end(network.values))


def averaged(members: Members, networks: Sequence[Network], dataset: types.Dataset | None) -> Network:
    """Returns one network with the mean of the weights; the statistics of batch normalisation are renewed.

    Real numbers of the layers, such as a slope that was swept, are averaged too. A layer whose parameters all runs kept
    frozen keeps its statistics.

    Args:
      members: the runs.
      networks: theirs.
      dataset: of the first run, whose training split is gone through; `None` where nothing is to be renewed.

    Raises:
      ConfigError: they are not of one structure, or something else than `batch_norm` measures statistics.
    """
    _check_alike(members, networks)
    first = networks[members.runs.index(members.first)]
    mean = jax.tree.map(_mean, *(network.classifier for network in networks))
    if renews(first):
        assert dataset is not None
        mean = mean._replace(batch_stats=_statistics(first.values, mean, dataset))
    return Network(first.values, mean, max(network.step for network in networks), "average")


def renews(network: Network) -> bool:
    """Tells whether the average with a network's structure has batch statistics to renew.

    Raises:
      ConfigError: something else than `batch_norm` measures statistics.
    """
    measuring = [row for row in network.values.rows if any(each.collection == "batch_stats" for each in row.parameters)]
    foreign = [row for row in measuring if not isinstance(row.layer, BatchNorm)]
    if foreign:
        raise ConfigError(
            [
                f"--average: cannot renew what {foreign[0].path} measures, which is no batch_norm of cnn's. "
                "Use --ensemble, which needs no statistics"
            ]
        )
    return bool(measuring)


def _statistics(values: Config, classifier: Classifier, dataset: types.Dataset) -> Any:
    with contextlib.closing(batches(values, dataset, 1)) as epoch:
        steps = epoch.steps_per_epoch
        step_config = make_step_config(values, values.train.total_steps(steps), steps)
        return renew.statistics(classifier, epoch, step_config, jax.random.key_data(jax.random.key(values.seed)))


def _mean(*arrays: Any) -> Any:
    mean: Any = np.mean([np.asarray(array, np.float64) for array in arrays], axis=0)
    return jax.numpy.asarray(mean, arrays[0].dtype)


def _check_alike(members: Members, networks: Sequence[Network]) -> None:
    first = networks[members.runs.index(members.first)]
    for run, network in zip(members.runs, networks, strict=True):
        here, there = _shapes(first), _shapes(network)
        path = next((path for path in {**here, **there} if here.get(path) != there.get(path)), None)
        if path is not None:
            what = f"{path} is {here.get(path, 'missing')} in {{}} and {there.get(path, 'missing')} in {{}}"
        elif len({str(jax.tree.structure(each.classifier)) for each in (first, network)}) > 1:
            what = "other layers in {} and {}"
        else:
            continue
        got = what.format(members.first.workdir, run.workdir)
        raise ConfigError([f"--average: the runs must have the same network, got {got}. Use --ensemble"])


def _shapes(network: Network) -> dict[str, str]:
    return {path: show(array.shape) for path, array in flatten(network.classifier.variables).items()}


class Scored(NamedTuple):
    """One classifier on a split: the rows that count, its evaluation as JSON, further metrics, and which are right."""

    rows: np.ndarray
    evaluation: dict[str, Any]
    further: dict[str, float]
    right: Bool[np.ndarray, " rows"]


def compared(
    members: Members, networks: Sequence[Network], made: Network | None, dataset: types.Dataset, split: str
) -> TogetherRecord:
    """Evaluates runs alone and together on every example of a split, and tests whether together they are better.

    Args:
      members: the runs.
      networks: theirs.
      made: the average of their weights; `None` for the mean of their probabilities.
      dataset: holds the split.
      split: train, valid or test.

    Raises:
      ConfigError: a metric gives no finite number.
      DataError: no picture could be used.
      FloatingPointError: a logit is not finite.
    """
    values, examples = members.first.values, dataset.splits[split]
    images = evaluate.placed(examples)
    alone: list[Scored] = []

    def noted() -> Iterator[np.ndarray]:
        for logits in _logits(networks, images):
            alone.append(_scored(values, logits, examples, dataset))
            yield logits

    mean = losses.log_mean_softmax(noted())
    logits = mean if made is None else next(_logits([made], images))
    together = _scored(values, logits, examples, dataset)
    taken = zip(members.runs, networks, alone, strict=True)
    records = [_record(members, *each) for each in taken]
    record: Any = {
        "made": PROBABILITIES if made is None else WEIGHTS,
        "split": split,
        "weights": ", ".join(dict.fromkeys(network.weights for network in networks)),
        "step": max(network.step for network in networks),
        "data": dataset.identity,
        **together.evaluation,
        **evaluate.views_of(values),
        "skipped": len(examples) - len(together.rows),
        **({"metrics": together.further} if together.further else {}),
        "objective": members.objective,
        "members": records,
    }
    if members.best is not None:
        record |= {"single": records[members.best], "paired": _paired(alone[members.best].right, together.right)}
    if note := _note(members, made, split):
        record["note"] = note
    return record


def _scored(values: Config, logits: np.ndarray, examples: types.Split, dataset: types.Dataset) -> Scored:
    rows, evaluation, further = evaluate.score(values, logits, examples, dataset)
    right = logits[rows].argmax(axis=1) == examples.labels[rows]
    return Scored(rows, evaluation.to_json(), further, right)


def _record(members: Members, run: ensemble_members.Member, network: Network, scored: Scored) -> MemberRecord:
    numbers: Any = {name: scored.evaluation[name] for name in ("accuracy", "interval", "loss")}
    place = run.workdir.relative_to(members.folder) if members.folder else run.workdir
    about = {"run": str(place), "seed": run.values.seed, "step": network.step, "weights": network.weights}
    return {**about, "value": run.value, **numbers}  # type: ignore[typeddict-item]


def _paired(single: np.ndarray, together: np.ndarray) -> PairedRecord:
    found = compare.paired(single, together)
    return {
        "examples": found.examples,
        "both": found.both,
        "only_single": found.only_a,
        "only_together": found.only_b,
        "p": found.p,
        "difference": found.difference,
        "interval": found.interval,
    }


def _note(members: Members, made: Network | None, split: str) -> str:
    """Returns what must be said of the numbers, if anything."""
    notes = []
    if seen := recorded_data.seen_in_training(split, *(run.values.data for run in members.runs)):
        notes.append(seen)
    elif split == "valid" and members.best is not None:
        notes.append("the runs were chosen on these very examples, which flatters them")
    if members.best is None:
        notes.append("no run has a validation split, by which one of them could be chosen to compare with")
    if made is not None and members.start is None:
        notes.append(
            "the runs did not start from common trained weights (config.init_from), and the mean of weights that found "
            "their ways apart is usually useless"
        )
    return "; ".join(notes)
