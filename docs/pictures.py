"""Draws the README's pictures of a run: `python docs/pictures.py` after `python main.py`.

Rich draws the terminal; Selenium photographs the page in Debian's Chromium (`chromium`, `chromium-driver`).
"""

import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME

REPOSITORY = Path(__file__).resolve().parents[1]
WIDTH = 118
COMMANDS = (["summary"], ["eval", "--workdir=runs/digits"])
SECTIONS = {
    # section of the page: the height of its picture
    "curves": 850,
    "journey": 1180,
}

# Rich's frame names fonts on another host; a picture in a repository asks for nothing.
FRAME = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


def terminal() -> None:
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


def page() -> None:
    """Photographs sections of `runs/digits/report.html` as `docs/page-<section>.png`."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.common.by import By

    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--hide-scrollbars", "--force-device-scale-factor=1"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        for section, height in SECTIONS.items():
            driver.set_window_size(1180, height)
            driver.get((REPOSITORY / "runs" / "digits" / "report.html").as_uri())
            driver.execute_script("arguments[0].scrollIntoView()", driver.find_element(By.ID, section))
            driver.get_screenshot_as_file(str(REPOSITORY / "docs" / f"page-{section}.png"))
    finally:
        driver.quit()


if __name__ == "__main__":
    terminal()
    page()
