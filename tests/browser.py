"""A real Chromium for the tests: found, or installed by Playwright, or from Debian's package where that cannot be reached.

python tests/browser.py      what `make test` says before the tests
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]


def chromium() -> str | None:
    """Its path, or None."""
    there = next((path for name in NAMES if (path := shutil.which(name))), None)
    if there is None:
        kept = Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH") or "~/.cache/ms-playwright").expanduser()
        there = next((str(path) for path in sorted(kept.glob("chromium-*/chrome-linux*/chrome"))), None)
    return there


def install() -> str:
    """Makes sure that there is one. Raises RuntimeError where neither way works, saying what to do."""
    ways = [[sys.executable, "-m", "playwright", "install", "chromium"]]
    if shutil.which("apt-get") and os.geteuid() == 0:
        ways += [["apt-get", "install", "-y", "-q", "chromium"], ["sh", "-c", "apt-get update -q && apt-get install -y -q chromium"]]
    for way in ways:
        if chromium() is None:
            subprocess.run(way, capture_output=True, timeout=600, check=False, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
    there = chromium()
    if there is None:
        raise RuntimeError("no Chromium was found and none could be installed; install one, such as Debian's package chromium, and say this again")
    return there


if __name__ == "__main__":
    print(install())
