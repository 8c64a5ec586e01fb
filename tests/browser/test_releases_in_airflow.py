"""The page "Recommender releases" inside Airflow's own UI, as an operator uses it."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from recsys import ledger, monitoring
from recsys.cli.output import embedded_services
from recsys.embedded import airflow, stack
from recsys.embedded.airflow import AirflowAddresses
from recsys.embedded.home import Home
from recsys.releases import promote_release
from recsys.services import Services
from tests.actors import an_actor
from tests.release_maker import Releases

PAGE = "/recommender-releases/"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@dataclass
class Stack:
    """A running Airflow, and the ledger that its page shows."""

    web: AirflowAddresses
    services: Services

    def log_in(self, page: Page) -> None:
        page.goto(f"{self.web.url}/auth/login")
        page.get_by_label("Username").fill(self.web.username)
        page.get_by_label("Password").fill(self.web.password)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("button", name="Browse")).to_be_visible()

    @property
    def champion(self) -> str:
        return str(monitoring.read_status(self.services)["champion"]["release_id"])


@pytest.fixture(scope="module")
def running(browser: object) -> Iterator[Stack]:
    """Airflow as `recsys up` starts it, where two releases were promoted."""
    with (
        tempfile.TemporaryDirectory(prefix="recsys-stack-") as folder,
        pytest.MonkeyPatch.context() as patched,
    ):
        for name in [n for n in os.environ if n.startswith("AIRFLOW")]:
            patched.delenv(name)
        # No run may begin by itself meanwhile.
        patched.setenv("AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION", "True")
        home = Home(Path(folder))
        empty = home.folder("no-dags")
        try:
            stack.start_data_services(home)
            services = embedded_services(home)
            releases = Releases(services)
            for number in (1, 2):
                promote_release(
                    services, releases.candidate(number), actor=an_actor("airflow", "a better one")
                )
            yield Stack(airflow.start(home, empty), services)
        finally:
            stack.stop(home)


def test_it_is_in_the_menu_and_opens_within_airflows_ui(running, open_page):
    opened = open_page(viewport={"width": 1280, "height": 900})
    running.log_in(opened.page)
    unloaded = opened.page.request.get(f"{running.web.url}/api/v2/plugins/importErrors").json()
    assert unloaded["import_errors"] == [], "Airflow's first page shows them"
    opened.page.get_by_role("button", name="Browse").click()
    opened.page.get_by_text("Recommender releases").click()
    expect(opened.page).to_have_url(re.compile(r"/plugin/recommender-releases$"))
    shown = opened.page.frame_locator("iframe")
    expect(shown.get_by_role("heading", level=1)).to_have_text("Recommender releases")
    expect(shown.locator("#champion")).to_have_text(running.champion)


@pytest.mark.parametrize("look", ["light", "dark"])
def test_anyone_can_read_it(running, open_page, look):
    opened = open_page(color_scheme=look, viewport={"width": 1280, "height": 900})
    running.log_in(opened.page)
    opened.page.goto(running.web.url + PAGE)
    opened.accessible()


def test_it_fits_a_phone(running, open_page):
    opened = open_page(viewport={"width": 390, "height": 800})
    running.log_in(opened.page)
    opened.page.goto(running.web.url + PAGE)
    opened.accessible()
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_rollback_by_keyboard_is_recorded_in_the_history(running, open_page):
    before = running.champion
    opened = open_page(viewport={"width": 1280, "height": 900})
    running.log_in(opened.page)
    opened.page.goto(f"{running.web.url}/plugin/recommender-releases")
    shown = opened.page.frame_locator("iframe")
    shown.get_by_role("button", name="Roll back").click()
    # The browser itself asks for the reason that is missing.
    assert running.champion == before
    shown.get_by_label("Reason").fill("complaints about westerns")
    shown.get_by_label("Reason").press("Enter")
    expect(shown.locator("body")).to_contain_text(f"Rolled back from {before} to")
    after = running.champion
    assert after != before
    expect(shown.locator("#champion")).to_have_text(after)
    expect(shown.locator("body")).to_contain_text("complaints about westerns")
    with running.services.connect() as conn:
        newest = ledger.history(conn, after)[0]
    assert newest["reason"] == "complaints about westerns"
    assert newest["actor"].startswith(running.web.username)
    assert newest["origin"] == "releases page"
