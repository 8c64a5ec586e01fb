"""The reference site of ratings from 1 to 10 in a browser: lists of ratings instead of stars."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from recsys.embedded.postgres import Postgres
from recsys.embedded.s3 import S3
from tests.browser.conftest import Opened
from tests.browser.test_site_pages import PHONE, ModelsFromFiles, Served, serving
from tests.site.real_releases import ReleasesOfTen


class ModelsOfTen(ModelsFromFiles, ReleasesOfTen):
    """Releases of ratings from 1 to 10, with models from files."""


@pytest.fixture(scope="module")
def site(
    repository: Path,
    postgres_server: Postgres,
    s3_server: S3,
    browser: object,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Served]:
    """The site with a release whose model predicts 7 and more."""
    folder = tmp_path_factory.mktemp("models")
    with serving(repository, postgres_server, ModelsOfTen, folder, (24,)) as served:
        yield served


@pytest.mark.parametrize("look", ["wide", "phone"])
def test_a_new_visitor_rates_by_lists_of_the_scale_and_edits_the_ratings(
    site: Served, open_page: Callable[..., Opened], look: str
):
    opened = open_page(base_url=site.url, **(PHONE if look == "phone" else {}))
    page = opened.page
    page.goto("/newcomer")
    expect(page.get_by_role("radio")).to_have_count(0)
    page.get_by_role("combobox", name=re.compile("Movie 3 of 24")).select_option("10 of 10")
    page.get_by_role("combobox", name=re.compile("Movie 4 of 24")).select_option("1 of 10")
    opened.accessible()
    page.get_by_role("button", name="Show my recommendations").last.click()
    expect(page).to_have_url(re.compile(r"r=3-10_4-1$"))
    items = page.get_by_role("region", name="Recommendations").get_by_role("listitem")
    expect(items.first).to_contain_text(re.compile(r"[78]\.\d of 10"))
    rated = page.get_by_role("region", name="Your ratings")
    mine = rated.get_by_role("combobox", name=re.compile("Movie 3 of 24"))
    expect(mine).to_have_value("10")
    mine.select_option("9 of 10")
    page.get_by_role("button", name="Update").click()
    expect(page).to_have_url(re.compile(r"3-9"))
    opened.accessible()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert "★" not in page.inner_text("main")
