"""The files of a run: written whole or not at all, always valid JSON."""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cnn.config import config, resolve
from cnn.data import sources
from cnn.expression import written

CONFIG = "config.json"
RUN = "run.json"
METRICS = "metrics.jsonl"
EVENTS = "events.jsonl"
CHECKPOINTS = "checkpoints"
STEP_DIGITS = 8
"""At least so many has the name of a step's folder there."""
TENSORBOARD = "tensorboard"
RESULT = "result.json"
HISTORY = "config_history.jsonl"
FIRST_LAYER = "first_layer.npz"
PAGE = "report.html"
FIGURES = "figures"
JOURNEY = "journey.npz"
PRACTICE = "practice.npz"
EXPORTS = "exports"
LOCK = ".lock"
MLFLOW_FILE, WANDB_FILE = "mlflow.json", "wandb.json"
DECLARATION = "declaration.json"
"""Of a sweep, in its own directory."""
INIT = "init"
"""In `run.json`: what trained arrays the run started from."""
ARITHMETIC = "arithmetic"
"""In `run.json`: what `train.compute_dtype` computes where the run is trained."""
CODE = "code"
"""A folder with copies of a run's own code, and in `run.json` what is known of it; see `recorded_code`."""
BAD_PICTURES = "bad-pictures.json"
PROFILE = "profile"
HARMLESS = (
    "checkpoint.every",
    "report.page",
    "extensions",
    *(f"data.{name}" for name in ("data_dir", "file", "manual_dir", "loading", "memory_share", "workers", "on_error")),
)
"""Fields that cannot change the numbers: when to save or draw, where data of one identity lie, how they come, and where
the extensions lie, whose content `recorded_code.check_same` compares.

Going on without broken pictures changes nothing as long as there are none; roundings do, which is said aloud.
"""

PROVED = ("data.name", "data.class_names")
"""Fields that change nothing where the data are known by their numbers and class names before and after: whoever goes
on with a run compares the identity of its data."""


class BrokenFile(ValueError):
    """Reports a file of a run that cannot be what this software wrote."""


def evaluation(split: str) -> str:
    """Returns the name of the file with a split's evaluation."""
    return f"evaluation-{split}.json"


def predictions(split: str) -> str:
    """Returns the name of the file with a split's logits."""
    return f"predictions-{split}.npz"


def confused(split: str) -> str:
    """Returns the name of the file with the images of a split that were the most confused."""
    return f"confused-{split}.npz"


FILES = {
    CONFIG: "every field of the config; `--config=RUN/config.json` trains another run with it",
    HISTORY: "a line for each time that the run went on with other values of fields that change no number",
    RUN: "versions, commit and its changes, devices, command, identity of the data, what the run started from",
    METRICS: "the curves, a line of JSON each: of kind `train`, the means since the line before, or `epoch`, with "
    "`train` and `valid`; no clock, so that equal runs have equal bytes",
    EVENTS: "times: starts, resumes, signals, the end",
    RESULT: "how the run ended, after how many steps and seconds; written last, so a run that has it is finished",
    f"{CHECKPOINTS}/": "the two newest states, the one of the best evaluation, and what is damaged in `_corrupt`",
    evaluation("<split>"): "accuracy with its interval, loss, scores of each class, confusion matrix, calibration; of "
    "other weights or data than the run's own, `evaluation-<split>-best.json` and alike",
    predictions("<split>"): "arrays `index`, `label` and `logits`: every example of the split, as it was evaluated",
    confused("<split>"): "the images that were confused the most, for the report",
    FIRST_LAYER: "the filters of the first convolution, and how often each gives zero, for the report",
    JOURNEY: "what `explain` captured of images on their way through the network, for the report",
    PRACTICE: "the network and the pictures with which the report can train by itself",
    PAGE: "the report, made of these files alone",
    f"{FIGURES}/": "its charts as SVG and PNG, for papers and slides",
    f"{TENSORBOARD}/": "the same curves for TensorBoard, which compares the runs of a folder",
    f"{EXPORTS}/": "what `export` wrote, each file with a `.json` that tells its input and classes",
    f"{PROFILE}/": "the trace of `--profile`, for Perfetto and TensorBoard",
    f"{CODE}/": "copies of the run's own code, if it has any",
    BAD_PICTURES: "what could not be read and was passed over, where `data.on_error` is skip",
    MLFLOW_FILE: "which run of MLflow records this one, with `--tracker=mlflow`",
    WANDB_FILE: "which run of Weights & Biases records this one, with `--tracker=wandb`",
    LOCK: "which process works at the run",
}
"""What a run's directory holds, with what each file is; a name that ends in a slash is a folder's."""


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Names the file in what the system raises within the block, where it says only that the disk is full."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def write(path: Path, content: bytes) -> None:
    """Replaces a file at once: whoever reads it sees the old or the new content, never a part."""
    # The process in its name, since `eval` may write beside a run that ends just then.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with naming(path), temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Replaces a file by readable JSON.

    Raises:
      ValueError: `value` holds NaN or an infinity.
    """
    write(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> dict[str, Any] | None:
    """Returns the object that a JSON file holds, `None` where there is no file.

    Raises:
      BrokenFile: the file holds something else; the message names it.
    """
    remedy = "Restore it or choose another --workdir."
    try:
        content = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BrokenFile(f"{path}: is not valid JSON ({error}). {remedy}") from None
    if not isinstance(content, dict):
        raise BrokenFile(f"{path}: must hold a JSON object, got {type(content).__name__}. {remedy}")
    return content


def append(path: Path, record: Mapping[str, Any]) -> None:
    """Adds one line of JSON, or nothing: half a line would spoil the next."""
    line = json.dumps(record, allow_nan=False) + "\n"
    before = path.stat().st_size if path.exists() else 0
    try:
        with naming(path), path.open("a") as file:
            file.write(line)
    except OSError:
        if path.exists():
            os.truncate(path, before)
        raise


def truncate(path: Path, size: int) -> None:
    """Cuts a file back to its first `size` bytes, on disk before this returns; a missing file of none is made.

    Raises:
      BrokenFile: the file has fewer bytes.
    """
    path.touch()
    if path.stat().st_size < size:
        raise BrokenFile(f"{path}: lost records, {size} bytes expected. Restore it or choose another --workdir.")
    with path.open("r+b") as file:
        file.truncate(size)
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync(path: Path) -> None:
    """Waits until a file's content is on disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def step_name(step: int) -> str:
    """Returns the name of a step's folder among the checkpoints."""
    return f"{step:0{STEP_DIGITS}}"


def steps(directory: Path) -> list[int]:
    """Returns the numbers of all folders that are named as a step is, in ascending order; others are not ours."""
    if not directory.is_dir():
        return []
    names = (path.name for path in directory.iterdir() if path.is_dir())
    numbers = [(name, int(name)) for name in names if name.isascii() and name.isdigit()]
    return sorted(number for name, number in numbers if name == step_name(number))


def read_config(workdir: Path, asked: str = "--workdir") -> dict[str, Any]:
    """Returns what the `config.json` of a run holds.

    Args:
      workdir: the run's directory.
      asked: the flag or command that named it, for the error.

    Raises:
      ConfigError: there is no run; the message says what there is, and which run may be meant.
      BrokenFile: the file is not what this software wrote.
    """
    saved = read_json(workdir / CONFIG)
    if saved is not None:
        return saved
    inside = next((path.parent for glob in ("trials/*/", "*/") for path in sorted(workdir.glob(glob + CONFIG))), None)
    if (workdir / DECLARATION).is_file():
        what = "is a sweep's directory, not a run's"
        remedy = f"Name one of its trials, such as {inside}" if inside else "Start its command again"
    elif workdir.exists() and not workdir.is_dir():
        what, remedy = "is a file", "Name a run's directory"
    elif workdir.exists():
        what, remedy = f"holds no run (no {CONFIG})", f"Name a run's directory{f', such as {inside}' if inside else ''}"
    else:
        what, remedy = "does not exist", "Name a run's directory, or train one there first"
    raise config.ConfigError([f"{asked}: {workdir} {what}. {remedy}"])


def free(workdir: Path) -> str:
    """Returns the name of a directory beside another that does not exist yet."""
    return next(f"{workdir}-{n}" for n in range(2, 1_000_000) if not Path(f"{workdir}-{n}").exists())


def recorded_code(workdir: Path) -> Mapping[str, Any]:
    """Returns what a run recorded of code that is not this package's; see `cnn.runs.recorded_code`."""
    return (read_json(workdir / RUN) or {}).get(CODE, {})


def completed(workdir: Path, saved: dict[str, Any]) -> dict[str, Any]:
    """Returns a run's config with the defaults of fields that are newer than the run, where it is valid."""
    try:
        return json.loads(resolve.resolve(saved, recorded=True, code=recorded_code(workdir)).json)
    except config.ConfigError:
        return config.renamed(saved)


def _of_someone(name: str) -> bool:
    return name[0] != "." and name != PROFILE


def check_same_config(values: config.Config, workdir: Path) -> list[tuple[str, Any, Any]]:
    """Refuses a directory that holds another run, or files that are no run's.

    Returns:
      The harmless changes: path, old and new value of fields that cannot change the numbers, and of a longer run's
      length where what was computed so far does not depend on it.

    Raises:
      ConfigError: with each field's old and new value, and a directory that is free.
    """
    old = read_json(workdir / CONFIG)
    if old is None:
        # A process killed in its first moment leaves no more than hidden files; a profile needs no run.
        if workdir.exists() and (not workdir.is_dir() or any(_of_someone(path.name) for path in workdir.iterdir())):
            raise config.ConfigError([f"--workdir: {workdir} exists and holds no run. Use --workdir={free(workdir)}"])
        return []
    before = completed(workdir, old)
    changed = config.differences(before, json.loads(values.json))
    proved = all(sources.of_numbers(str(name)) for name in (before.get("data", {}).get("name"), values.data.name))
    follows = (_of_length(values) or _of_end(values, workdir)) if made_longer(changed) else ""
    is_longer = _has_further_steps(before, values) and not follows
    harmless = (*HARMLESS, *(PROVED if proved else ()), *(config.LENGTHS if is_longer else ()))
    if other := [change for change in changed if change[0] not in harmless]:
        table = [f"    config.{path}: {before!r} there, {now!r} here" for path, before, now in other]
        if all(path in config.LENGTHS for path, _, _ in other) and _has_further_steps(before, values):
            table.append(
                f"    A run can be trained longer where nothing follows from its length, as with config.schedule.name="
                f"constant; here {follows}. To go on from what it learnt, add "
                f"--config.init_from={workdir}"
            )
        heading = f"--workdir: {workdir} holds a run of another config. Use --workdir={free(workdir)}"
        raise config.ConfigError(["\n".join([heading, *table])])
    return changed


def _has_further_steps(before: Mapping[str, Any], values: config.Config) -> bool:
    lengths = [before["train"].get(path.partition(".")[2]) for path in config.LENGTHS]
    pairs = zip(lengths, (values.train.epochs, values.train.steps), strict=True)
    return all((old is None) == (new is None) and (new or 0) >= (old or 0) for old, new in pairs)


def _of_length(values: config.Config) -> str:
    """Returns which field says something else of a longer run's first steps, empty where none does."""
    if getattr(values.train.average, "knows_length", False):
        return f"config.train.average={written(values.train.average)} does"
    if getattr(values.schedule, "knows_length", True):
        if cooldown := getattr(values.schedule, "cooldown_steps", 0):
            return f"config.schedule.cooldown_steps={cooldown} does"
        return f"config.schedule.name={json.loads(values.json)['schedule']['name']} does"
    return ""


def _of_end(values: config.Config, workdir: Path) -> str:
    """Returns what else follows from the evaluation at a finished run's end, which a longer one may not make there."""
    result = read_json(workdir / RESULT) or {}
    if "valid" not in result or not result["epochs"] % values.eval.every_epochs:
        return ""
    is_best = values.eval.weights == "best" and result["best"]["step"] == result["step"]
    if is_best or hasattr(values.schedule, "observe"):
        field = "eval.weights=best" if is_best else f"schedule.name={json.loads(values.json)['schedule']['name']}"
        return f"what config.{field} takes from the evaluation at its end does, which a longer run makes elsewhere"
    return ""


def made_longer(changed: Sequence[tuple[str, Any, Any]]) -> bool:
    """Tells whether the run's length is among the changes of `check_same_config`."""
    return any(path in config.LENGTHS for path, _, _ in changed)
