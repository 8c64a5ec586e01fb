"""The reference site in a browser: with mouse, keyboard, phone size and dark colors."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from recsys.cli.output import embedded_services
from recsys.embedded.postgres import Postgres
from recsys.embedded.s3 import S3
from recsys.embedded.site import Site
from recsys.releases import promote_release
from tests.actors import an_actor
from tests.site.real_releases import RealReleases

PATHS = ("/", "/search?q=movie", "/search?q=nothing", "/movies/1", "/movies/61", "/users/3",
         "/newcomer", "/newcomer?r=3-5_4-2", "/newcomer?r=3-5&q=movie", "/release")  # fmt: skip
PHONE = {"viewport": {"width": 375, "height": 700}, "has_touch": True}
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": PHONE,
}


class ModelsFromFiles(RealReleases):
    """Releases with models made in the site's environment, because this one has no Keras."""

    folder: Path

    def model_bytes(self, number: int) -> bytes:
        return (self.folder / f"{number}.keras").read_bytes()


@dataclass
class Served:
    """A running site and the releases that can be promoted."""

    url: str
    releases: dict[int, str]
    promote: Callable[[int], None]


@pytest.fixture(scope="module")
def site(
    repository: Path,
    postgres_server: Postgres,
    s3_server: S3,
    browser: object,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Served]:
    """The site as the one-machine stack runs it, with release 1."""
    folder = tmp_path_factory.mktemp("models")
    with serving(repository, postgres_server, ModelsFromFiles, folder, (1, 2)) as served:
        yield served


@contextmanager
def serving(
    repository: Path,
    postgres_server: Postgres,
    kind: type[ModelsFromFiles],
    folder: Path,
    numbers: tuple[int, ...],
) -> Iterator[Served]:
    """Starts the site with the first of some releases, whose models are made in a folder."""
    server = Site(postgres_server.home, repository / "site")
    if not server.python.exists():
        pytest.skip("the site's environment is not set up: make setup")
    subprocess.run(
        [server.python, "-m", "tests.site.real_releases", str(folder), *map(str, numbers)],
        cwd=repository,
        check=True,
    )
    services = embedded_services(postgres_server.home)
    maker = kind(services)
    maker.folder = folder
    made = {number: maker.candidate(number) for number in numbers}

    def promote(number: int) -> None:
        maker.judge(made[number])
        promote_release(services, made[number], actor=an_actor())
        end = time.monotonic() + 60
        while server.status().detail != made[number]:
            assert time.monotonic() < end, server.log.read_text()[-2000:]
            time.sleep(0.05)

    with server.home.lock():
        server.start()
    try:
        promote(numbers[0])
        yield Served(server.address(), made, promote)
    finally:
        with server.home.lock():
            server.stop()


@pytest.fixture
def page(site: Served, open_page: Any) -> Iterator[Page]:
    opened = open_page(base_url=site.url)
    yield opened.page
    assert opened.hosts <= {urlsplit(site.url).netloc}, (
        "the page loaded something from another host"
    )


def test_search_opens_a_movie_and_its_similar_movies(page):
    page.goto("/")
    page.get_by_label("Search movies by title").fill("movie 7")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name="The Movie 7 of 1").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("The Movie 7 of 1")
    similar = page.get_by_role("region", name="Movies like this one").get_by_role("listitem")
    expect(similar).to_have_count(12)
    query = page.get_by_label("SQL")
    expect(query).to_be_hidden()
    page.get_by_text("Show the SQL query").click()
    expect(query).to_contain_text("order by vector <=> (select vector")
    name = similar.first.locator(".name").inner_text()
    similar.first.get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(name)


def test_a_user_gets_recommendations(page):
    page.goto("/")
    page.get_by_role("textbox", name="User number").fill("3")
    page.get_by_role("button", name="Recommend").click()
    expect(page).to_have_url(re.compile("/users/3$"))
    items = page.get_by_role("region", name="Recommendations").get_by_role("listitem")
    expect(items).to_have_count(12)
    expect(items.first).to_contain_text("of 5 stars")


def test_a_new_visitor_rates_movies_and_removes_a_rating(page):
    page.goto("/newcomer")
    rated = page.get_by_role("group", name="The Movie 3 of 1")
    rated.get_by_label("5 stars").click()
    expect(rated.get_by_label("5 stars")).to_be_checked()
    page.get_by_role("group", name="The Movie 4 of 1").get_by_label("1 star").click()
    page.get_by_role("button", name="Show my recommendations").click()
    expect(page).to_have_url(re.compile(r"r=3-5_4-1$"))
    expect(page.get_by_role("heading", level=1)).to_have_text("Your recommendations")
    items = page.get_by_role("region", name="Recommendations").get_by_role("listitem")
    expect(items).to_have_count(12)
    before = items.all_inner_texts()
    page.get_by_role("button", name="Remove your rating of The Movie 3 of 1").click()
    expect(page).to_have_url(re.compile(r"r=4-1$"))
    assert items.all_inner_texts() != before


def test_a_new_visitor_keeps_and_edits_the_ratings_through_every_search(site, open_page):
    opened = open_page(base_url=site.url, **PHONE)
    page = opened.page
    page.goto("/newcomer")
    # A star that was chosen and not sent is kept by the search for more movies, with typos.
    page.get_by_role("group", name="The Movie 3 of 1").get_by_label("4½ stars").click()
    page.get_by_label("Find a movie to rate").fill("moive9")
    page.get_by_role("button", name="Find").click()
    expect(page).to_have_url(re.compile(r"r=3-4.5&q=moive9$"))
    expect(page.get_by_text("No title contains “moive9”")).to_be_visible()
    opened.accessible()
    page.get_by_role("group", name="The Movie 9 of 1").get_by_label("1 star").click()
    page.get_by_role("button", name="Show my recommendations").last.click()
    expect(page).to_have_url(re.compile(r"r=3-4.5_9-1$"))
    # A rating is edited, and one more star that was not sent is kept by this.
    page.get_by_role("group", name="The Movie 1 of 1").get_by_label("2 stars").click()
    page.get_by_label("Your stars for The Movie 3 of 1").select_option("★ 3½")
    page.get_by_role("button", name="Update").click()
    expect(page).to_have_url(re.compile(r"r=9-1_3-3.5_1-2$"))
    rated = page.get_by_role("region", name="Your ratings").get_by_role("listitem")
    expect(rated).to_have_count(3)
    # Other pages and the search in their header keep them too.
    page.get_by_role("region", name="Recommendations").locator("h3 a").first.click()
    page.get_by_label("Search movies by title").fill("movie 12")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name="The Movie 12 of 1").click()
    expect(page.get_by_role("link", name="Your ratings (3)")).to_be_visible()
    page.get_by_role("link", name="I love it. What else is there?").click()
    expect(rated).to_have_count(4)
    opened.accessible()


@pytest.mark.parametrize("width", [390, 1440, 2000])
def test_header_page_and_footer_are_aligned_and_the_footer_ends_the_window(site, open_page, width):
    opened = open_page(base_url=site.url, viewport={"width": width, "height": 1000})
    page = opened.page
    for path in ("/search?q=movie+12", "/search?q=movie", "/release"):
        page.goto(path)
        box = {
            name: page.locator(name).bounding_box()
            for name in (".mark", "main h1", "#release", "footer")
        }
        lefts = {round(box[name]["x"]) for name in (".mark", "main h1", "#release")}
        assert len(lefts) == 1, (path, box)
        assert box["footer"]["y"] + box["footer"]["height"] >= 999, (path, box)
        if "search" in path:
            lede, shelf = (
                page.locator(".lede").bounding_box(),
                page.locator(".shelf").bounding_box(),
            )
            assert shelf["y"] - lede["y"] - lede["height"] >= 16, "the count touches the posters"


def test_the_api_is_described_without_another_host(site, open_page):
    opened = open_page(base_url=site.url)
    page = opened.page
    page.goto("/search")
    page.get_by_role("link", name="API", exact=True).click()
    expect(page.get_by_text("/api/movies/{movie_id}/similar")).to_be_visible()
    page.locator("#operations-movies-search_api_movies_get").get_by_role("button").first.click()
    page.get_by_role("button", name="Execute").click()
    expect(page.locator(".responses-inner .response .highlight-code").first).to_contain_text(
        site.releases[1]
    )
    assert opened.hosts <= {urlsplit(site.url).netloc}


def test_the_site_works_by_keyboard(page):
    page.goto("/movies/7")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the movies")
    expect(skip).to_be_focused()
    assert skip.bounding_box()["y"] >= 0, "the link is visible while it has the focus"
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="I love it. What else is there?")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Your recommendations")
    page.get_by_label("Find a movie to rate").focus()
    page.keyboard.type("movie 9")
    page.keyboard.press("Enter")
    expect(page.get_by_role("group")).to_have_count(1)
    page.get_by_role("radio").first.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    expect(page.get_by_label("3 stars")).to_be_checked()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"r=7-5_9-3$"))


def test_the_focus_is_always_visible(page):
    page.goto("/users/3")
    for _ in range(25):
        page.keyboard.press("Tab")
        style = "getComputedStyle(document.activeElement)"
        assert page.evaluate(f"{style}.outlineStyle") == "solid"
        assert page.evaluate(f"parseFloat({style}.outlineWidth)") >= 3


@pytest.mark.parametrize("look", LOOKS)
def test_pages_are_accessible(site, open_page, look):
    opened = open_page(base_url=site.url, **LOOKS[look])
    for path in PATHS:
        opened.page.goto(path)
        opened.accessible()
        assert opened.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path


def test_the_page_for_an_unknown_address_is_accessible(site, open_page):
    opened = open_page(base_url=site.url)
    opened.page.goto("/movies/99999")
    expect(opened.page.get_by_role("heading", level=1)).to_have_text("Page not found")
    opened.accessible()
    assert len(opened.complaints) == 1, "only the 404 response itself"
    opened.complaints.clear()


def test_the_site_works_without_javascript(site, open_page):
    page = open_page(base_url=site.url, java_script_enabled=False).page
    page.goto("/newcomer")
    page.get_by_role("group", name="The Movie 3 of 1").get_by_label("5 stars").click()
    page.get_by_role("button", name="Show my recommendations").click()
    expect(page.get_by_role("region", name="Recommendations")).to_be_visible()


def test_an_open_page_announces_a_promotion_and_shows_the_new_release(site, open_page):
    opened = open_page(base_url=site.url)
    page = opened.page
    page.goto("/movies/7")
    expect(page.locator("#release")).to_contain_text(site.releases[1])
    try:
        site.promote(2)
        # Triggers the check that runs when a tab becomes visible, instead of waiting for the timer.
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        news = page.get_by_role("status")
        expect(news).to_contain_text(f"Release {site.releases[2]} is now in use")
        expect(page.get_by_role("heading", level=1)).to_have_text("The Movie 7 of 1")
        opened.accessible()
        news.get_by_role("link").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("The Movie 7 of 2")
        expect(page.locator("#release")).to_contain_text(site.releases[2])
        expect(news).to_be_empty()
    finally:
        site.promote(1)
