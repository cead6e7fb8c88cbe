"""report.html printed to report.pdf by Chromium, where there is one; nothing else is asked for."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from nightlab.errors import NotSetUp, StorageError

PDF = "report.pdf"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")
TIMEOUT = 120.0  # seconds
_QUIET = (
    "--headless=new",
    "--disable-gpu",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--hide-scrollbars",
)


def browser() -> str | None:
    """The path of a Chromium, or None."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


def print_page(page: Path) -> Path:
    """Print an HTML file to a PDF beside it. Raises NotSetUp without Chromium, StorageError where nothing came out."""
    path = page.with_suffix(".pdf")
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / PDF
        said = run_browser(f"--print-to-pdf={made}", "--no-pdf-header-footer", page.absolute().as_uri(), folder=folder)
        if not made.is_file() or not made.read_bytes().startswith(b"%PDF"):
            raise StorageError("Chromium printed no PDF", where=page, hint=said[-300:] or "it said nothing")
        shutil.copyfile(made, path)
    return path


def run_browser(*words: str, folder: str) -> str:
    """Run Chromium without a window, with a profile in `folder` that is thrown away; what it said. Raises NotSetUp."""
    found = browser()
    if found is None:
        raise NotSetUp("no Chromium here to print with", hint="install chromium, or print report.html from a browser")
    root = ("--no-sandbox",) if os.geteuid() == 0 else ()  # Chromium refuses its own sandbox to root
    command = [found, *_QUIET, *root, f"--user-data-dir={folder}/profile", *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise StorageError(f"Chromium did not end in {TIMEOUT:.0f} s", where=found) from None
    return done.stdout + done.stderr
