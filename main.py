"""Starts the program `cnn` from its repository; `python main.py --help` lists its commands."""

from cnn.__main__ import main, parse_flags, read_config, run

__all__ = ["main", "parse_flags", "read_config", "run"]

if __name__ == "__main__":
    run()
