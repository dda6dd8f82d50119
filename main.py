"""Starts the program `cnn` from its repository; `python main.py --help` lists its commands."""

from cnn.__main__ import main, parse_flags, run

__all__ = ["main", "parse_flags", "run"]

if __name__ == "__main__":
    run()
