"""A real browser, without a window, that notices what a page complains about."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]

# Playwright gives a page five seconds, too few for the first page of a server on a loaded machine.
expect.set_options(timeout=60_000)


# Not for the session: while it lives there is a running event loop in this thread, and other tests
# of the same process, which make loops of their own, would fail.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's chromium; tests/install_programs.sh installs it where that can be done."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no chromium here: apt-get install chromium")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=_ARGUMENTS)
        yield launched
        launched.close()


@dataclass
class Opened:
    """A page, and what it complained about.

    Attributes:
        page: of a browser context of its own.
        complaints: errors of scripts, of the console and of the content security policy.
        hosts: all hosts that were asked for anything.
    """

    page: Page
    complaints: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def accessible(self) -> None:
        """Fails on anything that axe objects to in the page as it is."""
        found = Axe().run(self.page)
        assert found.violations_count == 0, found.generate_report()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Opened]]:
    """Opens pages; at the end none of them may have complained."""
    opened: list[Opened] = []
    contexts = []

    def open_one(**options: Any) -> Opened:
        context = browser.new_context(**options)
        contexts.append(context)
        one = Opened(context.new_page())
        one.page.on(
            "console",
            lambda said: one.complaints.append(said.text) if said.type == "error" else None,
        )
        one.page.on("pageerror", lambda error: one.complaints.append(str(error)))
        one.page.on("request", lambda asked: one.hosts.add(urlsplit(asked.url).netloc))
        opened.append(one)
        return one

    yield open_one
    for context in contexts:
        context.close()
    assert [complaint for one in opened for complaint in one.complaints] == []
