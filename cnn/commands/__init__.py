"""The commands of `main.py`: what each takes, and the module that does it, imported when asked for."""

from typing import NamedTuple


class Command(NamedTuple):
    """One command: its line of help, the flags it takes, and whether it executes a config file."""

    help: str
    flags: tuple[str, ...]
    takes_config: bool


COMMANDS = {
    "train": Command("train, evaluate and write the run; again: continue it, or print its result", ("workdir",), True),
    "summary": Command("print the journey table of a config: shapes, parameters, cost", (), True),
    "eval": Command(
        "evaluate a run's checkpoint on every example of a split", ("workdir", "split", "weights", "data_dir"), False
    ),
    "report": Command("write a run's page again, report.html, from its files", ("workdir",), False),
}

CHOICES = {"split": ("train", "valid", "test"), "weights": ("last", "best", "ema")}

FLAGS = {
    "config": "PATH      the config file (default configs/digits.py); --config.SECTION.FIELD=VALUE overrides any field",
    "workdir": "DIR      the run's directory (default runs/<config name>)",
    "split": "NAME       train, valid or test (default test)",
    "weights": "NAME     last, best or ema (default: what the run's config says)",
    "data_dir": "DIR     where the data are, if they have moved",
}
