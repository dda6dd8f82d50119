"""Debian's Chromium, with a driver that has a real pointer and real keys, and Node.js for the pages' scripts alone."""

import contextlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

NODE = shutil.which("node")
CHROMIUM = shutil.which("chromium")
DRIVER = shutil.which("chromedriver")
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)

needs_node = pytest.mark.skipif(NODE is None, reason="Node.js is not installed")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("REQUIRE_BROWSER"), reason="Chromium is not installed"
)
needs_driver = pytest.mark.skipif(
    (CHROMIUM is None or DRIVER is None) and not os.environ.get("REQUIRE_BROWSER"),
    reason="Chromium and its driver are not installed",
)


def passed_in_node(script, fixtures, folder):
    """Runs a file of tests beside this one, which read what Python worked out from the file that FIXTURES names."""
    path = folder / "fixtures.json"
    path.write_text(json.dumps(fixtures))
    done = subprocess.run(
        [NODE, "--test", str(Path(__file__).with_name(script))],
        env={**os.environ, "FIXTURES": str(path)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    assert "\n# pass " in done.stdout or "ℹ pass" in done.stdout


def proof(path, folder):
    """Returns what a page's `<html>` says about itself once `#selftest` has run."""
    command = [CHROMIUM, *ARGUMENTS, f"--user-data-dir={folder}", "--virtual-time-budget=60000", "--dump-dom"]
    done = subprocess.run([*command, f"{path.as_uri()}#selftest"], capture_output=True, text=True, timeout=240)
    root = re.search(r"<html\b[^>]*>", done.stdout)
    assert root, done.stderr[-2000:]
    return dict(re.findall(r'data-([\w-]+)="([^"]*)"', root[0]))


@contextlib.contextmanager
def driven(folder, size="1280,1000"):
    """Yields a browser, and closes it."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (*ARGUMENTS, f"--window-size={size}", f"--user-data-dir={folder}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()
