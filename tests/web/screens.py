"""Makes pictures of the page for the documentation: `python -m tests.web.screens DIRECTORY`.

Waiting, asking, moving, done and failed, each on a desktop and on a phone, light and dark.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import sync_playwright

from tests.support.processes import sender
from tests.web.conftest import BROWSER, World, a_world, ask, status

WIDTHS: Final = (1280, 390)
SCHEMES: Final = ("light", "dark")


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
    while float(page.evaluate("() => document.getElementById('bar').value")) < 0.4:
        page.wait_for_timeout(50)
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


def main(to: Path) -> None:
    """Write all pictures into a directory."""
    to.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        with a_world(browser) as world, tempfile.TemporaryDirectory() as place:
            world.page.set_default_timeout(60_000)

            def snap(name: str) -> None:
                for width in WIDTHS:
                    world.page.set_viewport_size({"width": width, "height": 900 if width > 600 else 844})
                    for scheme in SCHEMES:
                        world.page.emulate_media(color_scheme=scheme)
                        world.page.screenshot(path=to / f"{name}-{width}-{scheme}.png", full_page=True)

            stories(world, world.page, Path(place), snap)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
