"""Each state of the page under axe, in both colour schemes and two widths."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.processes import sender
from tests.web.conftest import MODULES, World, ask, status
from tests.web.test_page import LARGE, MIDDLE

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.once, pytest.mark.slow]  # a browser, a relay and a command have to start

AXE = MODULES / "axe-core/axe.min.js"


def findings(page: Any) -> list[str]:
    """Return what axe finds on the page as it is shown now."""
    found: list[str] = []
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 844})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            violations = page.evaluate("async () => (await axe.run()).violations")
            found += [
                f"{scheme} {width}: {each['id']} {node['html'][:100]}"
                for each in violations
                for node in each["nodes"]
            ]
    return found


@pytest.mark.skipif(not AXE.is_file(), reason="axe-core is not installed: npm ci in p2p_copy/web")
def test_axe_finds_nothing(world: World, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "link").symlink_to("file")
    (tmp_path / "tree" / "file").write_bytes(os.urandom(LARGE))
    page = world.open(world.browser.new_context(bypass_csp=True))  # axe itself is a script from elsewhere
    page.add_script_tag(path=str(AXE))
    found = findings(page)
    world.proxy.slow_after = MIDDLE
    sending = sender(world.relay, tmp_path / "tree")
    ask(page)
    found += findings(page)
    page.click("#accept")
    page.locator("#bar").wait_for()
    found += findings(page)
    world.proxy.hurry()
    status(page, "Received, but not all")
    found += findings(page)
    sending.wait()
    page.click("#remove")
    page.set_input_files("#files", str(tmp_path / "tree" / "file"))
    page.click("#send")
    page.locator("#qr svg").wait_for()
    found += findings(page)
    assert not found


def test_the_keyboard_alone_receives(world: World, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("contents")
    sending = sender(world.relay, tmp_path / "file")
    page = world.page
    page.keyboard.press("Tab")
    page.keyboard.type("lab7-a long passphrase")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.locator("#accept").wait_for()
    assert page.evaluate("() => document.activeElement.id") == "accept"
    page.keyboard.press("Enter")
    status(page, "Received")
    assert page.evaluate("() => document.activeElement.id") == "status"
    assert sending.wait()[0] == 0
