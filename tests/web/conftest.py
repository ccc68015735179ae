"""The built page behind a relay, and browsers, where they are there."""

from __future__ import annotations

import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.support.certificates import Certificates
from tests.support.processes import CODE, Running, relay
from tests.web import firefox as firefox_driver
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

LONGEST = 300
"""Seconds for a whole test, which may have to start a browser, a relay and a command, and to wait for each of them."""


def pytest_itemcollected(item: pytest.Item) -> None:
    """Let a test with a browser wait for several things, one after the other, on a machine where each is late."""
    if item.get_closest_marker("slow"):
        item.add_marker(pytest.mark.timeout(LONGEST))


@pytest.fixture(scope="session")
def built() -> None:
    """The built page, which a relay serves."""
    if not (STATIC / "index.html").is_file():
        pytest.skip("the page is not built: npm ci && npm run build in p2p_copy/web")


@pytest.fixture(scope="session")
def chromium(built: None) -> Iterator[Any]:
    """A real Chromium without a window."""
    if BROWSER is None:
        pytest.skip("Chromium is not installed")
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    with api.sync_playwright() as playwright:
        # A container has no user namespace for the browser's own sandbox.
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"], timeout=PATIENCE)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def firefox(built: None) -> Iterator[Any]:
    """A real Firefox without a window."""
    if firefox_driver.EXECUTABLE is None:
        pytest.skip("Firefox is not installed")
    with firefox_driver.firefox() as browser:
        yield browser


# One worker has all tests with Firefox, if pytest-xdist is told so: it takes seconds to start.
BROWSERS = ["chromium", pytest.param("firefox", marks=pytest.mark.xdist_group("firefox"))]


@pytest.fixture(scope="session", params=BROWSERS)
def browser(request: pytest.FixtureRequest) -> Any:
    """Each browser that is installed."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def other_browser(request: pytest.FixtureRequest, browser: Any) -> Any:
    """A browser of the other kind than `browser`."""
    return request.getfixturevalue("chromium" if isinstance(browser, firefox_driver.Firefox) else "firefox")


@dataclass
class World:
    """A relay that serves the page, and a browser with the page open, which reaches the relay through a proxy.

    Attributes:
        relay: the relay's address, for a command.
        relay_options: with which it was started.
        trust: the options of a command that make it believe the relay's certificate.
        url: the page.
        errors: what the pages have written to their consoles.

    """

    browser: Any
    relay: str
    relay_process: Running
    relay_options: tuple[str, ...]
    trust: tuple[str, ...]
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


def place(address: str) -> tuple[str, int]:
    """Return host and port of a relay."""
    parts = urlsplit(address)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


@contextmanager
def a_world(browser: Any, certificates: Certificates | None = None) -> Iterator[World]:
    """Run a relay, with TLS if there are certificates, and open its page in the browser."""
    # On loopback a browser lets a page use cryptography without TLS, too.
    options = ("--no-tls",) if certificates is None else certificates.options
    trust = () if certificates is None else ("--ca-file", certificates.authority)
    with relay(*options, "--web") as (address, running), Proxy(place(address)) as proxy:
        context = browser.new_context(ignore_https_errors=True)
        url = f"http{'s' if certificates else ''}://127.0.0.1:{proxy.port}/"
        world = World(browser, address, running, (*options, "--web"), trust, proxy, url, context, None)
        world.page = world.open()
        yield world
        for each in list(browser.contexts):
            each.close()


@pytest.fixture
def world(chromium: Any) -> Iterator[World]:
    with a_world(chromium) as made:
        yield made
        assert not made.errors


@pytest.fixture
def secure(browser: Any, tmp_path: Path) -> Iterator[World]:
    """The same with TLS, in each browser that is installed."""
    with a_world(browser, Certificates(tmp_path)) as made:
        yield made
        assert not made.errors


def receive(page: Any, code: str = CODE) -> None:
    """Type the code, and say yes to what comes."""
    ask(page, code)
    page.click("#accept")


def ask(page: Any, code: str = CODE) -> None:
    page.fill("#code", code)
    page.press("#code", "Enter")
    page.wait_for_selector("#accept")


def until(page: Any, function: str, *values: str, within: float = PATIENCE / 1000) -> None:
    """Wait until a function of JavaScript, called in the page, returns what is true, within so many seconds."""
    end = time.monotonic() + within
    while not page.evaluate(function, *values):
        said = page.inner_text("main") if time.monotonic() > end else ""
        assert time.monotonic() < end, f"{function} {values}: {said}"
        page.wait_for_timeout(50)


_SAYS = """(name) => {
    const status = document.getElementById('status');
    return status.textContent === name && status.checkVisibility();
}"""


def status(page: Any, name: str, *, within: float = PATIENCE / 1000) -> str:
    """Wait until the page says this; return the sentence below."""
    until(page, _SAYS, name, within=within)
    return str(page.inner_text("#detail"))


def download(page: Any, to: Path) -> Path:
    with page.expect_download() as started:
        page.click("#download")
    name: str = started.value.suggested_filename
    started.value.save_as(to / name)
    return to / name
