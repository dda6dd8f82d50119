"""Launches the commands of the package `cnn`; `python main.py --help` lists them."""

import sys
from typing import Any

from absl import app, flags, logging
from ml_collections import config_flags

from cnn import runtime
from cnn.commands import flags as command_line

runtime.prepare()

# Without an argv of its own it would read ours for --config.*, and stop at the first that the file does not name.
CONFIG = config_flags.DEFINE_config_file("config", None, "The config file.", lock_config=True, sys_argv=["main.py"])


def parse_flags(arguments: list[str]) -> command_line.Invocation:
    """Reads the command line with a parser of ours, so that all its problems show at once."""
    invocation = command_line.parse(arguments[1:])
    if invocation.help:
        print(command_line.usage())
        sys.exit(0)
    flags.FLAGS(arguments[:1])
    return invocation


def main(invocation: command_line.Invocation) -> int:
    """Runs the command; returns the exit code."""
    from cnn.commands import launch

    logging.set_verbosity(logging.ERROR)
    return launch.launch(invocation, _read_config)


def _read_config(path: str) -> dict[str, Any]:
    # config_flags looks for overrides in sys.argv and dies at the first bad one; ours are checked all together.
    typed, sys.argv = sys.argv, sys.argv[:1]
    try:
        flags.FLAGS([sys.argv[0], f"--config={path}"])
    finally:
        sys.argv = typed
    return CONFIG.value.to_dict()


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
