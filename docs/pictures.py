"""Draws the pictures of the README and of these pages: `python docs/pictures.py` after `python main.py` and a sweep.

The sweep: `python main.py sweep --sweep=configs/sweeps/search.py --config.model.width=4 --config.train.epochs=6
--workdir=runs/search`. Rich draws the terminal; Selenium photographs the pages in Debian's Chromium (`chromium`,
`chromium-driver`).
"""

import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME

REPOSITORY = Path(__file__).resolve().parents[1]
WIDTH = 118
COMMANDS = (["summary"], ["eval", "--workdir=runs/digits"])
SECTIONS = {
    # name of the picture: run or sweep, section of its page, the picture's height, and what is looked at
    "curves": ("digits", "curves", 900, ""),
    "journey": ("digits", "journey", 1560, "#j=img:0;layer:conv2;f:5;r:4;c:5;pin"),
    "sweep": ("search", "axes", 980, ""),
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
            console.print(line, markup=False)
    picture = console.export_svg(title="python main.py", theme=DEFAULT_TERMINAL_THEME, code_format=FRAME)
    (REPOSITORY / "docs" / "digits.svg").write_text(picture)


def seven() -> None:
    """Draws a digit with chalk as `docs/seven.png`: a picture of another size than any network reads."""
    height, width, finer = 160, 120, 4
    board = Image.new("L", (width * finer, height * finer), 34)
    pen = ImageDraw.Draw(board)
    strokes = [(120, 150), (250, 138), (372, 140), (330, 250), (280, 360), (240, 470), (222, 540)]
    pen.line(strokes, fill=226, width=56, joint="curve")
    for x, y in (strokes[0], strokes[-1]):
        pen.ellipse([x - 28, y - 28, x + 28, y + 28], fill=226)
    smooth = board.filter(ImageFilter.GaussianBlur(3)).resize((width, height), Image.Resampling.LANCZOS)
    grain = np.random.default_rng(7).normal(0, 2, (height, width))
    rows = np.clip(np.asarray(smooth) + grain, 0, 255).astype(np.uint8)
    Image.fromarray(rows).save(REPOSITORY / "docs" / "seven.png", optimize=True)


def page() -> None:
    """Photographs sections of pages as `docs/page-<name>.png`."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--hide-scrollbars", "--force-device-scale-factor=1"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        for name, (workdir, section, height, address) in SECTIONS.items():
            driver.set_window_size(1180, height)
            driver.get((REPOSITORY / "runs" / workdir / "report.html").as_uri() + address)
            if section == "journey":
                WebDriverWait(driver, 60).until(lambda page: page.find_elements(By.CSS_SELECTOR, "html[data-agree]"))
            driver.execute_script("arguments[0].scrollIntoView()", driver.find_element(By.ID, section))
            driver.get_screenshot_as_file(str(REPOSITORY / "docs" / f"page-{name}.png"))
    finally:
        driver.quit()


if __name__ == "__main__":
    seven()
    terminal()
    page()
