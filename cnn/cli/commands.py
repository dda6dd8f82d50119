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


COMMANDS = {
    "train": Command(
        "train, evaluate and write the run; again: continue it, or print its result",
        ("workdir", "devices", "distributed", "tracker", "profile"),
        True,
    ),
    "summary": Command("print the journey table of a config: shapes, parameters, cost", (), True, only_prints=True),
    "data": Command(
        "look at a config's data: classes, sizes, broken pictures, copies, mean and std; a sheet of pictures",
        ("check", "sheet", "columns", "augmented", "json"),
        True,
        only_prints=True,
    ),
    "fields": Command(
        "every field of a config, and every layer, optimizer, loss, ... with types, ranges and defaults",
        (),
        True,
        words="[NAME...]",
        only_prints=True,
    ),
    "eval": Command(
        "evaluate a run's checkpoint on every example of a split; or several runs together",
        (
            *("workdir", "split", "weights", "ensemble", "average", "members", "out", "data_dir", "data_file"),
            "extensions",
        ),
        False,
    ),
    "report": Command("write the page of a run or a sweep again, report.html, from its files", ("workdir",), False),
    "explain": Command(
        "follow images through a run's network, check every number, and write the run's page with their journeys",
        ("workdir", "choose", "images", "split", "weights", "max_mb", "invert", "data_dir", "data_file", "extensions"),
        False,
        words="[PICTURE_OR_FOLDER...]",
    ),
    "predict": Command(
        "what a run's network takes your own pictures for",
        ("workdir", "weights", "top", "invert", "json", "csv", "extensions"),
        False,
        words="PICTURE_OR_FOLDER...",
        only_prints=True,
    ),
    "verify": Command(
        "make a run's steps again and compare every bit; of a whole run that is the same, print its receipt",
        ("workdir", "from", "steps", "receipt", "data_dir", "data_file", "extensions"),
        False,
    ),
    "diff": Command(
        "what two runs differ in: config, versions, data, results, and a paired test on the same examples",
        ("split", "json"),
        False,
        takes_run=False,
        words="RUN_A RUN_B",
        only_prints=True,
    ),
    "export": Command(
        "a run's network as one file for other programs: StableHLO, ONNX or safetensors",
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
    "sweep": Command(
        "run the trials of a space and rank them; again: continue them, add to them, or print the ranking",
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
    "config": "PATH      a config file, or its name in configs/ (default digits); --config.SECTION.FIELD=VALUE",
    "workdir": "DIR      the run's directory; or a sweep's, for its best trial",
    "split": "NAME       train, valid or test (default test)",
    "weights": "NAME     last, best or ema (default: what the run's config says)",
    "sweep": "FILE       a file of configs/sweeps; --sweep.OPTION=VALUE (engine, workers, ...); --sweep.print only "
    "lists; --sweep.seeds=20 gives each configuration so many seeds; without FILE and SPACE, --workdir says which "
    "sweep goes on, and --sweep.seeds=+5 adds five seeds to it",
    "grid": "SPACE       the space in one line: 'optimizer.learning_rate=log(1e-4,1e-2,8);seed=0,1,2'",
    "storage": "URL      a database for several machines: postgresql+psycopg://USER@HOST/NAME; its "
    "password belongs into PGPASSWORD or ~/.pgpass",
    "devices": "N        how many devices share each batch, or all (default)",
    "distributed": "HOW  off (default), auto (Slurm, Open MPI, TPU), or HOST:PORT,N,I for process I of N",
    "tracker": "NAME     mlflow or wandb: record there, too; their own variables, such as MLFLOW_TRACKING_URI and "
    "WANDB_MODE, say where",
    "profile": "STEPS    make so many steps under JAX's profiler and print where their time goes, layer by layer; the "
    "trace goes to profile/ in the run's directory, and nothing else is written",
    "data_dir": "DIR     where the data are, if they have moved",
    "data_file": "FILE   their file, if it has moved; of a run whose data have no file, such as arrays of Python, "
    "an npz file",
    "extensions": "FILES the run's own code, where it is not what and where it was: its copy in runs/NAME/code, say",
    "from": "STEP        a step that is kept as a checkpoint, to go on from (default 0, the run's start)",
    "steps": "N          so many at most (default all)",
    "receipt": "LINE     what verify printed of the run before: it must be the same run",
    "sheet": "FILE       draw some training pictures of each class into this PNG file, as the network sees them",
    "columns": "N        how many pictures of each class the sheet shows (default 10)",
    "top": "N            how many classes to show of each picture, the likeliest first (default 5)",
    "invert": "WHEN      turn light for dark: yes, no, or auto (default: where a picture is light around and the run's "
    "are dark, or the other way round; one of the exact size is left as it is)",
    "filter": "NAME      vertical (default), horizontal, diagonal, antidiagonal, outline, sharpen, blur, identity, "
    'lesson, or your own numbers: "[[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]" or "-1 0 1; -2 0 2; -1 0 1"',
    "pool": "NAME        what follows the map, in blocks of 2x2: max (default), average or none",
    "pixel": "ROW,COLUMN of the map, counted from 0: whose sum is printed (default: the strongest)",
    "choose": "HOW       confused (default), the images with the largest loss; or classes, one of each class",
    "images": "N         how many images to follow (default 8)",
    "max_mb": "MB        the largest page; what does not fit is left out, and the page says what (default 3)",
    "format": "NAME      stablehlo (JAX on CPU, CUDA and TPU), onnx (ONNX Runtime and others), or safetensors (the "
    "parameters)",
    "out": "PATH         the file to write (default exports/model.<format> in the run's directory; of eval --ensemble "
    "ensemble-<split>.json in the sweep's)",
    "members": "WHICH    of a sweep: seeds (default), the trials of its best configuration; all that finished; or a "
    "number, so many with the best objective",
    "input": "TYPE       what pictures are given as: uint8 (default), or float32, 0..255 too",
    "output": "PATH      the PNG file to write (default <picture>-<filter>.png here)",
}

WORKDIRS = {
    "train": "the run's directory (default runs/<config name>)",
    "sweep": "the sweep's directory (default runs/<config name>-<name of the sweep's file, or grid>)",
    "report": "the directory of the run or the sweep",
}
"""What `--workdir` is where it is not that of a run that must be there."""

SWITCHES = {
    "check": "read every picture, also of data with more than 5,000, of which a sample is read otherwise",
    "augmented": "show on the sheet below each picture what config.data.augment makes of it in training, three times",
    "json": "print JSON: one line for each picture, or one for a comparison or for data",
    "csv": "print a table with one line for each picture",
    "ensemble": "of --workdir=SWEEP, or RUN1,RUN2,...: the mean of the runs' probabilities, beside the best run alone",
    "average": "of --workdir=SWEEP, or RUN1,RUN2,...: one network with the mean of the runs' weights, beside the best "
    "run alone; for runs that start from a common config.init_from",
    "weighted": "weight numbers of your own that do not add up to 0 or 1 so that they do",
}
"""Flags without a value."""
