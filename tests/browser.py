"""Debian's Chromium: pages that prove themselves, and a driver with a real pointer and real keys."""

import contextlib
import os
import re
import shutil
import subprocess

import pytest

CHROMIUM = shutil.which("chromium")
DRIVER = shutil.which("chromedriver")
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("REQUIRE_BROWSER"), reason="Chromium is not installed"
)
needs_driver = pytest.mark.skipif(
    (CHROMIUM is None or DRIVER is None) and not os.environ.get("REQUIRE_BROWSER"),
    reason="Chromium and its driver are not installed",
)


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
