"""The commands of `main.py`: what each takes, and the module that does it, imported when asked for."""

from typing import NamedTuple


class Command(NamedTuple):
    """One command: its line of help, the flags it takes, and what it works on.

    A command with neither a config nor a run is called without `config` and `workdir`; one with words is given `words`.
    `fields` is called with the flags that change the config, and `data` with its section `data` alone: they tell of
    configs that are not right yet.
    """

    help: str
    flags: tuple[str, ...]
    takes_config: bool
    takes_run: bool = True
    words: str = ""
    """What the words after the command are; empty where it takes none."""
    only_prints: bool = False
    """Whether nothing is left to do once nobody reads its output."""
    folder: str = ""
    """What follows the config's name in that of the directory, where no `--workdir` is given."""


COMMANDS = {
    "train": Command(
        "train a network, evaluate it and write the run; again: continue the run, or print its result",
        ("workdir", "devices", "distributed", "tracker", "profile", "smoke", "overfit"),
        True,
    ),
    "summary": Command(
        "print the summary of a config: the shape, the parameters and the cost of every layer; reads no data",
        (),
        True,
        only_prints=True,
    ),
    "data": Command(
        "look at the data of a config: classes, sizes, broken pictures, copies, mean and std; draw some of them",
        ("check", "sheet", "columns", "augmented", "json"),
        True,
        only_prints=True,
    ),
    "fields": Command(
        "list every field of a config, and every layer, optimizer, loss, ... with types, ranges and defaults",
        (),
        True,
        words="[NAME...]",
        only_prints=True,
    ),
    "eval": Command(
        "evaluate a run on every example of a split; or several runs together",
        (
            *("workdir", "split", "weights", "ensemble", "average", "members", "out", "data_dir", "data_file"),
            "extensions",
        ),
        False,
    ),
    "report": Command("write the report of a run or a sweep again, report.html, from its files", ("workdir",), False),
    "explain": Command(
        "follow images through a run's network, check every number, and put their journeys into the run's report",
        ("workdir", "choose", "images", "split", "weights", "max_mb", "invert", "data_dir", "data_file", "extensions"),
        False,
        words="[PICTURE_OR_FOLDER...]",
    ),
    "predict": Command(
        "tell what a run's network takes your own pictures for",
        ("workdir", "weights", "top", "invert", "json", "csv", "extensions"),
        False,
        words="PICTURE_OR_FOLDER...",
        only_prints=True,
    ),
    "verify": Command(
        "train a run's steps again and compare every bit; print the receipt of a whole run that is the same",
        ("workdir", "from", "steps", "receipt", "data_dir", "data_file", "extensions"),
        False,
    ),
    "diff": Command(
        "compare two runs: config, versions, data, results, and a paired test on the same examples",
        ("split", "json"),
        False,
        takes_run=False,
        words="RUN_A RUN_B",
        only_prints=True,
    ),
    "export": Command(
        "write a run's network as one file for other programs: StableHLO, ONNX or safetensors",
        ("workdir", "format", "out", "input", "weights", "ensemble", "average", "members", "extensions"),
        False,
    ),
    "filters": Command(
        "slide a filter over a picture, as the lesson does by hand: the map, the pooling, the sum of one pixel",
        ("filter", "weighted", "pool", "pixel", "output"),
        False,
        takes_run=False,
        words="[PICTURE]",
    ),
    "find-rate": Command(
        "find a learning rate: short trainings at many rates with a few seeds; a table, a picture, a suggestion",
        ("workdir", "rates", "steps", "seeds"),
        True,
        folder="-rates",
    ),
    "sweep": Command(
        "train the trials of a space and rank them; again: continue them, add to them, or print the ranking",
        ("workdir", "sweep", "grid", "storage", "tracker"),
        True,
    ),
}

CHOICES = {
    "split": ("train", "valid", "test"),
    "weights": ("last", "best", "ema"),
    "pool": ("max", "average", "none"),
    "invert": ("auto", "yes", "no"),
    "choose": ("confused", "classes"),
    "format": ("stablehlo", "onnx", "safetensors"),
    "input": ("uint8", "float32"),
    "tracker": ("mlflow", "wandb"),
}

FLAGS = {
    "config": "PATH      a config file, or its name in configs/ (default digits); --config.SECTION.FIELD=VALUE sets a "
    "field",
    "workdir": "DIR      the run's directory; or a sweep's, for its best trial",
    "split": "NAME       train, valid or test (default test)",
    "weights": "NAME     last, best or ema (default: what the run's config says)",
    "sweep": "FILE       a file that declares a space, such as those in configs/sweeps; --sweep.OPTION=VALUE sets an "
    "option, and fields sweep lists them; --sweep.print lists the trials and trains none. Without FILE and SPACE the "
    "sweep in --workdir goes on, and --sweep.seeds=+5 adds five seeds to it",
    "grid": "SPACE       the space in one line: 'optimizer.learning_rate=log(1e-4,1e-2,8);seed=0,1,2'",
    "storage": "URL      a database that several machines share: postgresql+psycopg://USER@HOST/NAME; its password "
    "belongs in PGPASSWORD or ~/.pgpass",
    "devices": "N        how many devices share each batch, or all (default)",
    "distributed": "HOW  off (default), auto (Slurm, Open MPI, TPU), or HOST:PORT,N,I for process I of N",
    "tracker": "NAME     mlflow or wandb: record there, too; their own variables, such as MLFLOW_TRACKING_URI and "
    "WANDB_MODE, say where",
    "profile": "STEPS    train so many steps under JAX's profiler and print where their time goes, layer by layer; the "
    "trace goes to profile/ in the run's directory, and nothing else is written",
    "overfit": "N        train on so many examples until the network knows them by heart, as any that works does in "
    "seconds, or say why it cannot; nothing is written",
    "data_dir": "DIR     where the data are, if they have moved",
    "data_file": "FILE   the file of the data, if it has moved; an npz file, if the data had no file, as arrays of "
    "Python have none",
    "extensions": "FILES the files of the run's own code, if they have changed or moved: such as the copy in "
    "runs/NAME/code",
    "from": "STEP        go on from the checkpoint of this step (default 0, the start of the run)",
    "steps": "N          so many steps",
    "rates": "FROM:TO    the learning rates to try, FROM:TO or FROM:TO:HOW_MANY (default: 1/100 to 100 times that of "
    "the config, and further where the best is at an end)",
    "seeds": "N          how many trainings at each rate, with the seeds from the config's on (default 3)",
    "receipt": "LINE     a receipt that verify printed earlier: this must be the same run",
    "sheet": "FILE       draw some training pictures of each class into this PNG file, as the network sees them",
    "columns": "N        how many pictures of each class the sheet shows (default 10)",
    "top": "N            how many classes to show of each picture, the likeliest first (default 5)",
    "invert": "WHEN      turn light and dark around: yes, no, or auto (default), which does so where a picture has a "
    "light background and the run's have a dark one, or the other way round, and leaves a picture of the exact size as "
    "it is",
    "filter": "NAME      vertical (default), horizontal, diagonal, antidiagonal, outline, sharpen, blur, identity, "
    'lesson, or your own numbers: "[[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]" or "-1 0 1; -2 0 2; -1 0 1"',
    "pool": "NAME        what follows the map, in blocks of 2x2: max (default), average or none",
    "pixel": "ROW,COLUMN the number of the map whose sum is printed, counted from 0 (default: the strongest)",
    "choose": "HOW       which images: confused (default), those with the largest loss; or classes, one of each class",
    "images": "N         how many images to follow (default 8)",
    "max_mb": "MB        how large the report may get (default 3); what does not fit is left out, and the report says "
    "what",
    "format": "NAME      stablehlo (JAX on CPU, CUDA and TPU), onnx (ONNX Runtime and others), or safetensors (the "
    "parameters)",
    "out": "PATH         the file to write",
    "members": "WHICH    which trials of a sweep: seeds (default), those of its best configuration; all that finished; "
    "or a number: so many with the best objective",
    "input": "TYPE       how pictures are given: uint8 (default) or float32, in both 0 to 255",
    "output": "PATH      the PNG file to write (default <picture>-<filter>.png in this folder)",
}

SWITCHES = {
    "smoke": "go through every stage of the run on a few steps and pictures, to see within seconds what would end it: "
    "data, training, resuming, evaluation, report, exports; nothing is left behind",
    "check": "read every picture, also where there are more than 5,000, of which a sample is read otherwise",
    "augmented": "show below each picture of the sheet, three times, what config.data.augment makes of it in training",
    "json": "print JSON",
    "csv": "print a table with a line for each picture",
    "ensemble": "take several runs together, --workdir=SWEEP or RUN1,RUN2,..., by the mean of their probabilities",
    "average": "take several runs together, --workdir=SWEEP or RUN1,RUN2,..., as one network with the mean of their "
    "weights; for runs that start from a common config.init_from",
    "weighted": "divide numbers of your own that do not add up to 0 or 1 by their sum",
}
"""Flags without a value."""

OF_COMMAND = {
    ("train", "workdir"): "the run's directory (default runs/<config name>)",
    ("find-rate", "workdir"): "where rates.json and the picture go (default runs/<config name>-rates)",
    ("sweep", "workdir"): "the sweep's directory (default runs/<config name>-<name of the sweep's file, or grid>)",
    ("report", "workdir"): "the directory of the run or the sweep",
    ("verify", "steps"): "train so many steps at most (default all)",
    ("find-rate", "steps"): "how many steps each training has (default 300)",
    (
        "eval",
        "out",
    ): "the file to write with --ensemble or --average (default ensemble-<split>.json, or average, in "
    "the sweep's directory)",
    ("export", "out"): "the file to write (default exports/model.<format> in the run's directory)",
    ("data", "json"): "print JSON, with every picture that cannot be used",
    ("predict", "json"): "print a line of JSON for each picture, with the logits of all classes",
    ("diff", "json"): "print JSON, with the examples that only one of the runs got right",
}
"""What a flag is of one command, where it is not the same for all that take it."""


ALWAYS = {
    "--help": "what there is; behind a command, what it does and its flags",
    "--version": "the version and commit of this software, and the versions of what it computes with",
    "--completion": "lets bash complete commands, flags, fields and names: `source <(python main.py --completion)`",
    "--completion=zsh": "the same for zsh",
    "--config.SECTION.FIELD=VALUE": "sets a field of the config, for commands that take a config",
    "--config.SECTION.help": "what `fields SECTION` tells",
    "--sweep.OPTION=VALUE": "sets an option of a sweep",
    "--sweep.print": "lists the trials of a sweep, and the command that trains each alone, and trains none",
}
"""Flags of no one command, and those that stand for many."""


def meaning(command: str, flag: str) -> str:
    """Returns what a flag of a command is."""
    return OF_COMMAND.get((command, flag)) or SWITCHES.get(flag) or FLAGS[flag].partition(" ")[2].strip()


def shown(flag: str) -> str:
    """Returns how a flag is typed: `--split=NAME`."""
    return f"--{flag}" if flag in SWITCHES else f"--{flag}={FLAGS[flag].partition(' ')[0]}"


def flags_of(name: str) -> tuple[str, ...]:
    """Returns the flags of a command, but for those that set one field or one option."""
    command = COMMANDS[name]
    return ("config", *command.flags) if command.takes_config else command.flags
