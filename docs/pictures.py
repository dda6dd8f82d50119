"""Draws the README's picture of the terminal: `python docs/pictures.py` after `python main.py`."""

import io
import re
import subprocess
import sys
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME

REPOSITORY = Path(__file__).resolve().parents[1]
WIDTH = 118
COMMANDS = (["summary"], ["eval", "--workdir=runs/digits"])

# Rich's frame names fonts on another host; a picture in a repository asks for nothing.
FRAME = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


def main() -> None:
    """Runs the commands and writes what they print as `docs/digits.svg`."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), highlight=False)
    for arguments in COMMANDS:
        shown = subprocess.run(
            [sys.executable, "main.py", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=True
        ).stdout
        console.print(f"$ python main.py {' '.join(arguments)}", style="bold", markup=False)
        for line in shown.splitlines():
            console.print(line.rstrip(), markup=False, no_wrap=True)
    picture = console.export_svg(title="python main.py", theme=DEFAULT_TERMINAL_THEME, code_format=FRAME)
    (REPOSITORY / "docs" / "digits.svg").write_text(picture)


if __name__ == "__main__":
    main()
