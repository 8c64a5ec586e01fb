"""Takes screenshots of the running product for the documentation.

``python -m tests.browser.take_screenshots [FOLDER] [--only site|airflow|report]`` opens the site,
the releases page in Airflow's UI and the champion's report, on the stack that ``recsys up`` started
(RECSYS_HOME). It saves every page in every look to FOLDER, or to docs/pictures those that the
documents show. The report needs no Airflow: ``recsys up --data-only``.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, Page, sync_playwright

from recsys import ledger
from recsys.cli.output import embedded_services
from recsys.cli.report import save
from recsys.embedded import airflow
from recsys.embedded.home import Home
from recsys.embedded.site import Site

_FOLDER: Final = Path(__file__).resolve().parents[2] / "docs" / "pictures"
_SITE_PAGES: Final = {
    "home": "/",
    "movie": "/movies/1",
    "user": "/users/1",
    "cold-start": "/newcomer?r=1-5_50-2_260-4",
}
_SHOWN: Final = frozenset(
    {
        "site-home-light",
        "site-user-dark",
        "site-movie-phone",
        "airflow-releases-light",
        "report-light",
        "report-dark",
    }
)
_WIDE: Final = {"viewport": {"width": 1280, "height": 860}}
_LOOKS: Final[dict[str, dict[str, Any]]] = {
    "light": {**_WIDE, "color_scheme": "light"},
    "dark": {**_WIDE, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}},
}


_SOURCES: Final = ("site", "airflow", "report")


def take(home: Home, folder: Path, only: tuple[str, ...] = _SOURCES) -> list[Path]:
    """Writes ``<page>-<look>.png`` for every page and look of the sources; returns the files."""
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("chromium is not installed: apt-get install chromium")
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        for look, options in _LOOKS.items():
            for name, page in _pages(browser, home, options, only):
                if folder != _FOLDER or f"{name}-{look}" in _SHOWN:
                    page.wait_for_function("document.fonts.status === 'loaded'")
                    made.append(folder / f"{name}-{look}.png")
                    page.screenshot(path=made[-1])
                page.context.close()
        browser.close()
    return made


def _pages(
    browser: Browser, home: Home, options: dict[str, Any], only: tuple[str, ...]
) -> Iterator[tuple[str, Page]]:
    for name, path in _SITE_PAGES.items() if "site" in only else ():
        page = browser.new_context(**options).new_page()
        page.goto(Site(home).address() + path)
        yield f"site-{name}", page
    if "airflow" in only:
        page = browser.new_context(**options).new_page()
        _open_releases(page, airflow.addresses(home))
        yield "airflow-releases", page
    if "report" in only:
        page = browser.new_context(**options).new_page()
        with tempfile.TemporaryDirectory() as folder:
            page.goto(_report(home, Path(folder)).as_uri())
            yield "report", page


def _open_releases(page: Page, web: airflow.AirflowAddresses) -> None:
    page.goto(f"{web.url}/auth/login")
    page.get_by_label("Username").fill(web.username)
    page.get_by_label("Password").fill(web.password)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_text("Browse").first.wait_for(timeout=60_000)
    page.goto(f"{web.url}/plugin/recommender-releases")
    page.frame_locator("iframe").get_by_role("heading", level=1).wait_for(timeout=60_000)


def _report(home: Home, folder: Path) -> Path:
    services = embedded_services(home)
    with services.connect() as conn:
        champion = ledger.champion(conn)
    if champion is None:
        raise SystemExit("no release has been promoted yet: run `recsys run`")
    # The stored one may be an earlier edition's.
    return save(services, champion.release_id, folder / "report.html", again=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Takes screenshots for the documentation.")
    parser.add_argument("folder", nargs="?", type=Path, default=_FOLDER)
    parser.add_argument("--only", choices=_SOURCES)
    given = parser.parse_args()
    for path in take(Home(), given.folder, (given.only,) if given.only else _SOURCES):
        print(path)
