"""Makes pictures of the page: `python -m tests.web.screens [DIRECTORY]`.

Waiting, asking, moving, done and failed, each on a desktop and on a phone, light and dark; without a directory only
what the documentation shows, in docs/screens.
"""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from playwright.sync_api import sync_playwright

from tests.support.processes import STATE, sender
from tests.web.conftest import BROWSER, World, a_world, ask, status, until

if TYPE_CHECKING:
    from collections.abc import Iterator

WIDTHS: Final = (1280, 390)
SCHEMES: Final = ("light", "dark")

KEPT: Final = ("waiting", "asking", "moving")
"""What the documentation shows, as a phone does: small pictures in which one can read."""

SCREENS: Final = Path(__file__).parents[2] / "docs/screens"


def stories(world: World, page: Any, place: Path, snap: Any) -> None:
    """Show each state of the page once."""
    snap("start")
    tree = place / "holiday"
    tree.mkdir()
    (tree / "beach.jpg").write_bytes(os.urandom(8_000_000))
    (tree / "notes.txt").write_text("The sea was cold.")
    (tree / "latest").symlink_to("notes.txt")
    sending = sender(world.relay, tree, options=("--limit-rate", "2M"))
    ask(page)
    snap("asking")
    page.click("#accept")
    until(page, "() => document.getElementById('bar').value >= 0.4")
    snap("moving")
    status(page, "Received, but not all")
    snap("done")
    sending.wait()
    page.click("#again")
    page.fill("#code", "lab7-a wrong passphrase")
    sending = sender(world.relay, tree)
    page.press("#code", "Enter")
    status(page, "It did not work")
    snap("failed")
    sending.kill()
    page.click("#again")
    page.set_input_files("#files", str(tree / "beach.jpg"))
    page.click("#send")
    page.locator("#qr svg").wait_for()
    page.get_by_role("heading", name="Waiting for the receiver").wait_for()
    snap("waiting")


def main(to: Path | None) -> None:
    """Write all pictures into a directory, or those that are kept into that of the documentation."""
    with (
        sync_playwright() as playwright,
        tempfile.TemporaryDirectory() as place,
        launched(playwright) as browser,
        a_world(browser) as world,
    ):
        os.environ[STATE] = f"{place}/state"
        page = world.page

        def snap(name: str) -> None:
            for width, scheme in itertools.product(WIDTHS, SCHEMES):
                page.set_viewport_size({"width": width, "height": 900 if width > 600 else 844})
                page.emulate_media(color_scheme=scheme)
                if to is not None:
                    page.screenshot(path=to / f"{name}-{width}-{scheme}.png", full_page=True)
                elif name in KEPT and width == min(WIDTHS):
                    page.locator("#transfer").screenshot(path=SCREENS / f"web-{name}-{scheme}.png")

        stories(world, page, Path(place), snap)


@contextmanager
def launched(playwright: Any) -> Iterator[Any]:
    """Run a browser."""
    browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
    yield browser
    browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
