"""Launches the commands of the package `cnn`; `python main.py --help` lists them."""

import sys

from absl import app, flags, logging
from ml_collections import config_flags

from cnn import commands, runtime
from cnn.commands import flags as command_line

runtime.prepare()

CONFIG = config_flags.DEFINE_config_file("config", None, "The config file.", lock_config=True)
for _name, _text in commands.FLAGS.items():
    if _name != "config":
        flags.DEFINE_string(_name, None, _text)


def parse_flags(arguments: list[str]) -> command_line.Invocation:
    """Reads the command line ourselves, so that all problems show at once; absl gets what is left of it."""
    invocation = command_line.parse(arguments[1:])
    if invocation.help:
        print(command_line.usage())
        sys.exit(0)
    flags.FLAGS(arguments[:1])
    return invocation


def main(invocation: command_line.Invocation) -> int:
    from cnn.commands import launch

    logging.set_verbosity(logging.ERROR)
    return launch.launch(invocation, lambda path: _read_config(path))


def _read_config(path: str) -> dict:
    flags.FLAGS(["main.py", f"--config={path}"])
    return CONFIG.value.to_dict()


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
