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
    "sweep": Command(
        "run the trials of a space and rank them; again: continue them, or print the ranking",
        ("workdir", "sweep", "grid", "storage"),
        True,
    ),
}

CHOICES = {"split": ("train", "valid", "test"), "weights": ("last", "best", "ema")}

FLAGS = {
    "config": "PATH      the config file (default configs/digits.py); --config.SECTION.FIELD=VALUE overrides any field",
    "workdir": "DIR      the run's directory (default runs/<config name>)",
    "split": "NAME       train, valid or test (default test)",
    "weights": "NAME     last, best or ema (default: what the run's config says)",
    "sweep": "FILE       a file of configs/sweeps; --sweep.OPTION=VALUE (engine, ...); --sweep.print only lists",
    "grid": "SPACE       the space in one line: 'optimizer.learning_rate=log(1e-4,1e-2,8);seed=0,1,2'",
    "storage": "URL      a database for several machines: postgresql+psycopg://USER@HOST/NAME",
    "data_dir": "DIR     where the data are, if they have moved",
}
