"""What `ensemble-<split>.json` and `average-<split>.json` hold, and what that says in words. Imports no JAX."""

from typing import Literal, NotRequired, TypedDict

from cnn.report.run_files import EvaluationRecord

Made = Literal["mean of the probabilities", "mean of the weights"]
PROBABILITIES: Made = "mean of the probabilities"
WEIGHTS: Made = "mean of the weights"
LEVEL = 0.05


class MemberRecord(TypedDict):
    """A member: its run, seed, step and weights, what validation gave, and its scores on the split.

    Trials of a sweep are named as below its directory, `trials/0003`.
    """

    run: str
    seed: int
    step: int
    weights: str
    value: float | None
    accuracy: float
    interval: tuple[float, float]
    loss: float


class PairedRecord(TypedDict):
    """McNemar's exact test on the same examples; see `cnn.runs.compare.Paired`.

    `only_single` were right in the single run alone, `only_together` in the runs together alone; the difference is
    together minus single.
    """

    examples: int
    both: int
    only_single: int
    only_together: int
    p: float
    difference: float
    interval: tuple[float, float]


class TogetherRecord(EvaluationRecord):
    """What `ensemble-<split>.json` and `average-<split>.json` hold: an evaluation, and what it is compared with."""

    made: Made
    objective: str
    """By which validation chose the single run."""
    members: list[MemberRecord]
    single: NotRequired[MemberRecord]
    """The member that validation chooses; where none was validated, nothing is compared."""
    paired: NotRequired[PairedRecord]
    note: NotRequired[str]


def single_said(record: TogetherRecord) -> list[str]:
    """Returns in lines what the run alone does that validation chooses, and whether the runs are better together."""
    if "single" not in record or "paired" not in record:
        return []
    single, paired = record["single"], record["paired"]
    low, high = single["interval"]
    ends = " to ".join(f"{100 * edge:+.2f}" for edge in paired["interval"])
    better = "together" if paired["difference"] > 0 else "alone"
    verdict = f"better {better} on these examples" if paired["p"] < LEVEL else "no difference can be told from chance"
    return [
        f"alone, the run that {record['objective']} chooses, {single['run']}: accuracy {single['accuracy']:.4f} "
        f"(95 % interval {low:.4f} to {high:.4f})",
        f"right on the same {paired['examples']:,} examples: {paired['both']:,} both, {paired['only_single']:,} only "
        f"alone, {paired['only_together']:,} only together",
        f"together - alone is {100 * paired['difference']:+.2f} points (95 % interval {ends}); McNemar's exact "
        f"p = {paired['p']:.2g}: {verdict}",
    ]
