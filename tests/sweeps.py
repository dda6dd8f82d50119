"""Tiny sweeps, and what must be equal where two of them are."""

import json
from pathlib import Path

import runs

RATES = "optimizer.learning_rate=0.003,0.03"


def sweep(folder, space, *typed, sections=runs.SECTIONS):
    """Returns the exit code of a sweep run in this process; typed as after `--`."""
    return runs.start(
        "sweep", f"--grid={space}", f"--workdir={folder}", *(f"--{text}" for text in typed), sections=sections
    )


def record(folder):
    return json.loads((Path(folder) / "sweep.json").read_text())


def table(folder):
    """Returns what a person reads of a finished sweep: by group the values and how its trials ended."""
    found = record(folder)
    ends = {row["number"]: (row["status"], row["value"], row["step"]) for row in found["trials"]}
    return [(group["fields"], group["mean"], [ends[number] for number in group["trials"]]) for group in found["groups"]]


def outcomes(folder):
    """Returns the fingerprint and the metrics' bytes of each trial."""
    return {row["number"]: runs.outcome(Path(folder) / row["folder"]) for row in record(folder)["trials"]}


def losses(workdir):
    return [entry["loss"] for entry in runs.records(workdir, "train")]


def finishes(url_or_folder, name=None):
    """Returns how often each trial was finished, according to the database."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    url = url_or_folder if name else f"sqlite:///{Path(url_or_folder) / 'study.db'}"
    names = [name] if name else optuna.get_all_study_names(url)
    study = optuna.load_study(study_name=names[0], storage=url)
    ended = [trial for trial in study.get_trials() if trial.state.is_finished() and trial.user_attrs.get("final")]
    counted = {}
    for trial in ended:
        number = trial.user_attrs["number"]
        counted[number] = counted.get(number, 0) + 1
    return counted
