"""The records of a run: by which names their numbers are shown, and the function that gets them as they are made."""

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from cnn.system.text import relative

_UNTAGGED = re.compile(r"[^-/\w.]")

Record = dict[str, Any]
"""One record: its `kind`, and numbers by name or of each split by name and split."""
OnRecord = Callable[[Record], None]
"""Gets a copy of every record of a run, in order:

* `{"kind": "begin", "workdir", "step", "config"}`, with the updates behind it: not 0 where it continues;
* those of `metrics.jsonl`, of the kinds `train`, `epoch` and `watch`, whose numbers are `None` where not finite;
* `{"kind": "evaluation", "split", "weights", "step", ...}` of each final evaluation, with its numbers;
* `{"kind": "end", "status", "result"}`: finished, diverged or preempted, which has no result.

After an error or a kill there is no end. A run that continues from a checkpoint repeats what was recorded after that.
"""


class OnRecordError(ValueError):
    """Reports in one line what the function that gets the records raised, and where."""


def tell(on_record: OnRecord, record: Record) -> None:
    """Hands a record to the user's function.

    Raises:
      OnRecordError: it raised an `Exception`; whatever else it raises, such as `KeyboardInterrupt`, passes.
    """
    try:
        on_record(record)
    except OnRecordError:  # of a function that passes records on
        raise
    except Exception as error:
        raise OnRecordError(f"on_record: {_blamed(on_record, error)}") from error


def _blamed(function: OnRecord, error: Exception) -> str:
    """Returns which function failed, where, and with what."""
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__qualname__", type(function).__qualname__).replace("<locals>.", "")
    said = " ".join(f"{type(error).__name__}: {error}".split())
    # The first frame is ours; a function that is not written in Python has none.
    trace = error.__traceback__ and error.__traceback__.tb_next
    if trace is None:
        return f"{name} failed: {said}"
    return f"{name} failed in {relative(trace.tb_frame.f_code.co_filename)}, line {trace.tb_lineno}: {said}"


def measured(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what an evaluation of a split measured by name, the config's further metrics beside the others."""
    return {**evaluation, **evaluation.get("metrics", {})}


def final_metrics(result: Mapping[str, Any]) -> dict[str, float]:
    """Returns the rates and losses of a result's evaluations by names such as `final/accuracy/test`."""
    found = {split: result[split] for split in ("valid", "test") if split in result}
    return {
        f"final/{_tag(name)}/{split}": number
        for split, numbers in found.items()
        for name, number in measured(numbers).items()
        if isinstance(number, float)
    }


def scalars(record: Mapping[str, Any]) -> Iterator[tuple[str, str, float]]:
    """Yields the numbers of a record, each with its split and tag: `loss` of epochs, and `train/loss` of some steps."""
    for name, value in record.items():
        if name not in ("kind", "step", "epoch"):
            if isinstance(value, dict):
                yield from ((name, _tag(tag), number) for tag, number in value.items())
            elif value is not None:
                yield "train", f"{record['kind']}/{name}", value


def _tag(name: str) -> str:
    """Returns the name of a metric, its arguments, as in `f_beta(beta=2)`, put as TensorBoard and MLflow take them."""
    return _UNTAGGED.sub("_", name)
