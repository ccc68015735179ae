"""The built page behind a relay, and a browser, where both are there."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.support.processes import CODE, Running, relay
from tests.web.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

STATIC = Path(__file__).parents[2] / "p2p_copy/web/static"
MODULES = STATIC.parent / "node_modules"
BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)

PATIENCE = 60_000
"""Milliseconds for anything in a browser: other tests run beside this one."""


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A real browser without a window."""
    if BROWSER is None:
        pytest.skip("Chromium is not installed")
    if not (STATIC / "index.html").is_file():
        pytest.skip("the page is not built: npm ci && npm run build in p2p_copy/web")
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    with api.sync_playwright() as playwright:
        # A container has no user namespace for the browser's own sandbox.
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class World:
    """A relay that serves the page, and a browser with the page open, which reaches the relay through a proxy.

    Attributes:
        url: the page.
        errors: what the pages have written to their consoles.

    """

    browser: Any
    relay: str
    relay_process: Running
    proxy: Proxy
    url: str
    context: Any
    page: Any
    errors: list[str] = field(default_factory=list)

    def open(self, context: Any = None, fragment: str = "") -> Any:
        """Return a page in a tab; one in the same browser profile, unless another is given."""
        page = (context or self.context).new_page()
        page.set_default_timeout(PATIENCE)
        page.on("console", lambda message: self.errors.append(message.text))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.goto(self.url + fragment)
        return page

    def visitor(self) -> Any:
        """Return another person's browser profile."""
        return self.browser.new_context()


PLAIN = ("--no-tls", "--web")
"""A relay on loopback, whose page a browser lets use cryptography without TLS, too."""


@contextmanager
def a_world(browser: Any) -> Iterator[World]:
    with relay(*PLAIN) as (address, running):
        parts = urlsplit(address)
        assert parts.hostname is not None
        assert parts.port is not None
        with Proxy((parts.hostname, parts.port)) as proxy:
            context = browser.new_context()
            url = f"http://127.0.0.1:{proxy.port}/"
            world = World(browser, address, running, proxy, url, context, None)
            world.page = world.open()
            yield world
            for each in browser.contexts:
                each.close()


@pytest.fixture
def world(chromium: Any) -> Iterator[World]:
    with a_world(chromium) as made:
        yield made
        assert not made.errors


def receive(page: Any, code: str = CODE) -> None:
    """Type the code, and say yes to what comes."""
    ask(page, code)
    page.click("#accept")


def ask(page: Any, code: str = CODE) -> None:
    page.fill("#code", code)
    page.press("#code", "Enter")
    page.locator("#accept").wait_for()


def status(page: Any, name: str) -> str:
    """Wait until the page says this; return the sentence below."""
    page.get_by_role("heading", name=name, exact=True).wait_for()
    return str(page.inner_text("#detail"))


def download(page: Any, to: Path) -> Path:
    with page.expect_download() as started:
        page.click("#download")
    name: str = started.value.suggested_filename
    started.value.save_as(to / name)
    return to / name
