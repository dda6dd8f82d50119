"""The program: reads the command line and runs a command; `python -m cnn` and an installed `cnn` start it."""

import atexit
import functools
import gc
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from absl import app, flags, logging
from ml_collections import config_flags

from cnn.cli import parser as command_line
from cnn.cli.commands import COMMANDS
from cnn.system import environment, exit_codes, huge_pages
from cnn.system.text import output_is_lost

environment.prepare()
# Importing and tracing make a million objects to stay, and Python would look through all of them several times.
gc.set_threshold(300_000, 20, 20)

# For absl's registry of flags: `cnn.cli.parser` reads what was typed, and `cnn.config.files` the file, as everywhere.
# Without an argv of its own it would read ours for --config.*, and stop at the first that the file does not name.
config_flags.DEFINE_config_file("config", None, "The config file.", sys_argv=["main.py"])


def run() -> None:
    """Does what was typed, and ends the process with the command's exit code."""
    # On its way out Python would look through millions of objects for garbage, for most of a second.
    atexit.register(gc.freeze)
    app.run(functools.partial(main, start_again=huge_pages.restart), flags_parser=parse_flags)


def parse_flags(arguments: list[str]) -> command_line.Invocation:
    """Reads the command line with a parser of ours, so that all its problems show at once."""
    invocation = command_line.parse(arguments[1:])
    answer = command_line.answer(invocation)
    if answer is not None or COMMANDS[invocation.command].only_prints:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if answer is not None:
        sys.exit(_show(answer))
    flags.FLAGS(arguments[:1])
    return invocation


def _show(answer: str) -> int:
    try:
        print(answer, flush=True)
    except OSError as error:
        output_is_lost()
        print(f"standard output: {error.strerror}", file=sys.stderr)
        return exit_codes.IO_ERROR
    return exit_codes.DONE


def main(invocation: command_line.Invocation, start_again: Callable[[], None] = lambda: None) -> int:
    """Runs the command; returns the exit code. What may start the program again: see `launch.launch`."""
    from cnn.cli import launch

    # Orbax logs with tracebacks what it raises as well, and we report in a line.
    logging.set_verbosity(logging.FATAL)
    sys.unraisablehook = _unraisable
    # Until training takes over, and after it, a termination is the same interruption as Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return launch.launch(invocation, start_again)
    except BrokenPipeError:
        # Ends like any Unix command where whoever read its output, such as `head`, has left. What only prints does so
        # at once; here all that is written to a run was closed first.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGPIPE)
        raise


def _unraisable(unraisable: Any) -> None:
    # What a read or write that failed leaves, once for each array; that it failed was raised.
    if not any(text in str(unraisable.exc_value) for text in ("Event loop is closed", "TensorStore")):
        sys.__unraisablehook__(unraisable)


if __name__ == "__main__":
    run()
