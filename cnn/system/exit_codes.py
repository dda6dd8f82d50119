"""The exit codes of the program, and what each means."""

from typing import NamedTuple


class ExitCode(NamedTuple):
    """What a code means, in a few words for the help, and in full."""

    short: str
    meaning: str


DONE, DIFFERS, WRONG, DIVERGED, HELD, IO_ERROR, PREEMPTED, FORCED = 0, 1, 2, 3, 73, 74, 75, 143

EXIT_CODES = {
    DONE: ExitCode("done", "done; of a run that is finished already, its result was printed"),
    DIFFERS: ExitCode(
        "a check or a trial failed",
        "done, but a trial of `sweep` failed, `verify` found another result than the recorded one, "
        "or `--overfit` found what keeps the network from learning",
    ),
    WRONG: ExitCode(
        "wrong config or data",
        "the config, a flag, the data or the code of your own is wrong, and each mistake was told in a line; "
        "of `predict`, a picture could not be read; of `data`, the data do not fit the config; of `verify`, the run "
        "cannot be compared on this machine",
    ),
    DIVERGED: ExitCode(
        "diverged",
        "the loss, a gradient or an update is not finite, and the state before it is saved; of `find-rate`, no "
        "learning rate can be suggested; of `export`, the file would compute other numbers and was not written; of "
        "`explain`, a number differs from its own sum",
    ),
    HELD: ExitCode("run held by another process", "another process works at the run, which is not disturbed"),
    IO_ERROR: ExitCode(
        "input or output failed",
        "a file cannot be read or written, the disk is full, every checkpoint is damaged, or another process of the "
        "run is gone",
    ),
    PREEMPTED: ExitCode(
        "interrupted and saved", "SIGTERM or Ctrl-C: all is saved, and the same command continues from there"
    ),
    FORCED: ExitCode("interrupted twice", "a second SIGTERM or Ctrl-C: left at once, with what had been saved before"),
}
"""Every code that a command ends with. A sweep with `--sweep.workers` ends with the largest of its workers' codes."""
