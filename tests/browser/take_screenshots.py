"""Photographs the running site for the documentation.

``python -m tests.browser.take_screenshots http://127.0.0.1:PORT FOLDER`` (``recsys up`` prints the
address) writes one PNG for each page and look.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import sync_playwright

_PAGES: Final = {
    "home": "/",
    "movie": "/movies/1",
    "user": "/users/1",
    "newcomer": "/newcomer?r=1-5_50-2_260-4",
}
_WIDE: Final = {"viewport": {"width": 1280, "height": 860}}
_LOOKS: Final[dict[str, dict[str, Any]]] = {
    "light": {**_WIDE, "color_scheme": "light"},
    "dark": {**_WIDE, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2},
}


def take(url: str, folder: Path) -> list[Path]:
    """Writes ``site-<page>-<look>.png`` for every page and look; returns the files."""
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("no chromium here: apt-get install chromium")
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        for look, options in _LOOKS.items():
            page = browser.new_context(base_url=url, **options).new_page()
            for name, path in _PAGES.items():
                page.goto(path)
                page.wait_for_function("document.fonts.status === 'loaded'")
                made.append(folder / f"site-{name}-{look}.png")
                page.screenshot(path=made[-1])
        browser.close()
    return made


if __name__ == "__main__":
    for path in take(sys.argv[1], Path(sys.argv[2])):
        print(path)
