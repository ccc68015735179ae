"""The page as one file, opened from a disk in a real browser, with a relay and commands on the other side."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from tests.support.certificates import Certificates
from tests.support.processes import CODE, receiver, relay, sender
from tests.web.conftest import MODULES, PATIENCE, STATIC, download, place, receive, status
from tests.web.proxy import Proxy
from tests.web.test_accessibility import AXE, findings
from tests.web.test_page import LARGE, MIDDLE, halfway, make_tree, same, unpack
from tests.web.test_protocol import needs_node, node

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.once,
    pytest.mark.slow,  # a browser, a relay and a command have to start for most of these
]

NAME = "p2p-copy.html"
built = pytest.mark.skipif(not (STATIC / NAME).is_file(), reason="the page is not built")


@dataclass
class Disk:
    """A copy of the file on a disk, a relay with TLS, and a browser that trusts its certificate.

    Attributes:
        trust: options by which a command trusts the relay.
        told: what the pages have written to their consoles.
        fetched: the addresses that the pages have asked for, but for what they make themselves.

    """

    file: Path
    relay: str
    trust: tuple[str, ...]
    context: Any
    told: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)

    def open(self, fragment: str = "") -> Any:
        page = self.context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("console", lambda message: self.told.append(message.text))
        page.on("pageerror", lambda error: self.told.append(str(error)))
        page.on("request", lambda request: self.fetched.append(request.url))
        page.on("websocket", lambda socket: self.fetched.append(socket.url))
        page.goto(self.file.as_uri() + fragment)
        page.locator("#start:not([hidden]), #transfer:not([hidden])").wait_for()
        return page

    def others(self) -> list[str]:
        """Return what was asked of anybody but the disk, the page itself and the relay."""
        own = (self.file.as_uri(), "data:", "blob:", self.relay + "/")
        return [url for url in self.fetched if not url.startswith(own)]


@pytest.fixture
def disk(chromium: Any, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Disk]:
    """`indirect` parameters are options of the relay, in place of those that a page from a disk needs."""
    certificates = Certificates(tmp_path)
    options = getattr(request, "param", ("--web-origin", "null"))
    file = tmp_path / "from the web" / NAME
    file.parent.mkdir()
    shutil.copy(STATIC / NAME, file)
    with relay(*certificates.options, *options) as (address, _):
        context = chromium.new_context(ignore_https_errors=True)
        yield Disk(file, address, ("--ca-file", str(certificates.authority)), context)
        context.close()


def test_a_tree_arrives(disk: Disk, tmp_path: Path) -> None:
    tree = make_tree(tmp_path)
    sending = sender(disk.relay, tree, options=disk.trust)
    page = disk.open()
    page.fill("#relay", disk.relay.removeprefix("wss://"))
    receive(page)
    assert "62 files" in status(page, "Received")
    archive = download(page, tmp_path)
    code, _, errors = sending.wait()
    assert (code, archive.name) == (0, "tree.zip"), errors
    assert same(unpack(archive, tmp_path / "got") / "tree", tree)
    assert not disk.told, "the policy of the page forbids nothing that it needs"
    assert not disk.others()


def test_a_file_is_sent(disk: Disk, tmp_path: Path) -> None:
    source = tmp_path / "one file"
    source.write_bytes(os.urandom(3_000_000))
    page = disk.open(f"#{disk.relay}")
    page.set_input_files("#files", str(source))
    page.click("#send")
    page.locator("#qr svg").wait_for()
    receiving = receiver(
        disk.relay, tmp_path / "out", code=page.inner_text("#code-shown"), options=(*disk.trust, "--yes")
    )
    assert receiving.wait()[0] == 0
    status(page, "Sent")
    assert (tmp_path / "out" / "one file").read_bytes() == source.read_bytes()
    assert not disk.told
    assert not disk.others()


@pytest.mark.parametrize("field", ["#relay", "#code"])
def test_the_link_of_the_sender_has_relay_and_code(disk: Disk, tmp_path: Path, field: str) -> None:
    (tmp_path / "file").write_text("contents")
    sending = sender(disk.relay, tmp_path / "file", options=disk.trust)
    page = disk.open()
    page.fill(field, f"{disk.relay.replace('wss', 'https', 1)}/#{quote(CODE)}")
    page.press(field, "Enter")
    if field == "#relay":
        page.press("#code", "Enter")
    page.click("#accept")
    status(page, "Received")
    assert sending.wait()[0] == 0


def test_the_link_may_be_the_fragment_and_its_code_leaves_the_address(disk: Disk, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("contents")
    sending = sender(disk.relay, tmp_path / "file", options=disk.trust)
    page = disk.open(f"#{disk.relay.replace('wss', 'https', 1)}/#{quote(CODE)}")
    page.click("#accept")
    status(page, "Received")
    assert page.url == f"{disk.file.as_uri()}#{disk.relay}", "a bookmark may have the relay, but not the code"
    assert sending.wait()[0] == 0


def refused(page: Any) -> str:
    """Return what the page says of a relay that it cannot reach; the code is still in its field."""
    page.locator("#relay-help").filter(has_text=re.compile(".")).wait_for()
    assert page.is_visible("#start")
    assert page.evaluate("document.activeElement.id") == "relay"
    assert page.input_value("#code") == CODE
    return str(page.inner_text("#relay-help"))


@pytest.mark.parametrize("disk", [("--web",)], indirect=True)
def test_a_relay_that_is_not_for_pages_from_a_disk(disk: Disk) -> None:
    page = disk.open()
    page.fill("#relay", disk.relay)
    page.fill("#code", CODE)
    page.press("#code", "Enter")
    assert "--web-origin null" in refused(page)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("", "not the address of a relay"),
        ("mailto:relay", "not the address of a relay"),
        ("https://user@relay.example", "not the address of a relay"),
        ("http://relay.example", "needs TLS"),
        ("wss://127.0.0.1:1", "No relay can be reached"),
    ],
)
def test_an_address_that_leads_nowhere(disk: Disk, address: str, said: str) -> None:
    page = disk.open()
    page.fill("#relay", address)
    page.fill("#code", CODE)
    page.press("#code", "Enter")
    assert said in refused(page)


def drop(page: Any, path: Path) -> None:
    """Let a file or directory fall onto the page, as a file manager does."""
    box = page.locator("#drop").bounding_box()
    session = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        place = {"x": box["x"] + 20, "y": box["y"] + 20}
        session.send("Input.dispatchDragEvent", {"type": kind, **place, "data": data})


def test_a_dropped_folder_is_sent(disk: Disk, tmp_path: Path) -> None:
    tree = make_tree(tmp_path, large=1000)
    page = disk.open(f"#{disk.relay}")
    drop(page, tree)
    page.get_by_text("62 files").wait_for()
    page.click("#send")
    page.locator("#qr svg").wait_for()
    receiving = receiver(
        disk.relay, tmp_path / "out", code=page.inner_text("#code-shown"), options=(*disk.trust, "--yes")
    )
    assert receiving.wait()[0] == 0
    assert same(tmp_path / "out" / "tree", tree)
    assert not disk.told


def test_more_than_the_memory_takes_is_refused_before_it_begins(disk: Disk, tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as large:
        large.truncate(513 * 1024 * 1024)
    sending = sender(disk.relay, tmp_path / "large", options=disk.trust)
    page = disk.open(f"#{disk.relay}")
    page.locator("#limit").filter(has_text="512 MiB at most").wait_for()
    page.fill("#code", CODE)
    page.press("#code", "Enter")
    assert "at most 512 MiB in memory" in status(page, "It did not work")
    code, _, errors = sending.wait()
    assert code != 0
    assert "its browser does not have enough space" in errors


def test_a_page_that_is_loaded_again_has_nothing_and_the_sender_is_told(disk: Disk, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(os.urandom(60_000_000))  # a minute
    sending = sender(disk.relay, tmp_path / "file", options=(*disk.trust, "--limit-rate", "1M"))
    page = disk.open(f"#{disk.relay}")
    page.on("dialog", lambda dialog: dialog.accept())
    receive(page)
    page.get_by_text(re.compile(r"[1-9].* of 57 MiB")).wait_for()
    page.reload()
    page.locator("#start").wait_for()
    assert page.input_value("#relay") == disk.relay
    page.locator("#limit").wait_for()  # what is kept was looked for by then
    assert not page.is_visible("#kept")
    code, _, errors = sending.wait()
    assert code != 0
    assert "its page was closed" in errors


@pytest.mark.xdist_group("firefox")
def test_firefox_keeps_what_it_receives_and_goes_on_when_it_is_loaded_again(
    firefox: Any, tmp_path: Path
) -> None:
    """Firefox gives a page from a disk storage, where Chromium gives none."""
    certificates = Certificates(tmp_path)
    file = tmp_path / "from the web" / NAME
    file.parent.mkdir()
    shutil.copy(STATIC / NAME, file)
    source = tmp_path / "README"
    source.write_bytes(os.urandom(LARGE))
    options = (*certificates.options, "--web-origin", "null")
    with relay(*options) as (address, _), Proxy(place(address)) as proxy:
        context = firefox.new_context(ignore_https_errors=True)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(f"{file.as_uri()}#wss://127.0.0.1:{proxy.port}")
        proxy.slow_after = MIDDLE
        trust = ("--ca-file", str(certificates.authority))
        sending = sender(address, source, options=("--json", *trust))
        receive(page)
        halfway(page)
        page.reload()
        proxy.hurry()
        status(page, "Received")
        got = download(page, tmp_path / "got")
        code, out, errors = sending.wait()
        context.close()
    assert code == 0, errors
    assert "resumed" in [json.loads(line)["event"] for line in out.splitlines()]
    assert got.name == source.name
    assert got.read_bytes() == source.read_bytes()


@pytest.mark.skipif(not AXE.is_file(), reason="axe-core is not installed: npm ci in p2p_copy/web")
def test_axe_finds_nothing_in_what_only_the_file_has(chromium: Any) -> None:
    context = chromium.new_context(bypass_csp=True)  # axe itself is a script from elsewhere
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto((STATIC / NAME).as_uri())
    page.locator("#limit").wait_for()
    page.add_script_tag(path=str(AXE))
    found = findings(page)
    page.fill("#relay", "http://relay.example")
    page.press("#relay", "Enter")
    page.get_by_text("needs TLS").wait_for()
    found += findings(page)
    context.close()
    assert not found


@needs_node
@pytest.mark.skipif(not MODULES.is_dir(), reason="no npm packages")
def test_what_is_kept_in_memory() -> None:
    node("memory.test.mjs")


@built
def test_the_policy_allows_this_script_and_this_style_only() -> None:
    class Found(HTMLParser):
        policy = ""
        inside = ""
        texts: dict[str, list[str]] = {"script": [], "style": []}  # noqa: RUF012  # of one test
        references: list[str] = []  # noqa: RUF012

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.inside = tag
            facts = dict(attrs)
            if facts.get("http-equiv") == "Content-Security-Policy":
                self.policy = facts["content"] or ""
            self.references += [
                value
                for name, value in attrs
                if value and (name == "src" or (name == "href" and tag == "link"))
            ]

        def handle_data(self, data: str) -> None:
            if self.inside in self.texts and data.strip():
                self.texts[self.inside].append(data)

        def handle_endtag(self, tag: str) -> None:
            self.inside = ""

    found = Found()
    found.feed((STATIC / NAME).read_text())
    for tag, texts in found.texts.items():
        (text,) = texts
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert re.search(f"{tag}-src 'sha256-{re.escape(digest)}'", found.policy)
    assert found.policy.startswith("default-src 'none'; ")
    assert "unsafe-inline" not in found.policy
    assert all(reference.startswith("data:") for reference in found.references)


@built
@pytest.mark.skipif(not MODULES.is_dir() or shutil.which("node") is None, reason="no npm packages")
def test_two_builds_are_the_same(tmp_path: Path) -> None:
    """A build in another directory, as somebody else would make it."""
    package = tmp_path / "clone" / "p2p_copy"
    shutil.copytree(STATIC.parent / "src", package / "web" / "src")
    for name in ("build.mjs", "package.json"):
        shutil.copy(STATIC.parent / name, package / "web")
    (package / "web" / "node_modules").symlink_to(MODULES)
    (package / "protocol").mkdir()
    for name in ("version.py", "protocol/wordlist.py"):
        shutil.copy(STATIC.parents[1] / name, package / name)
    built_there = subprocess.run(
        ["node", "build.mjs"], cwd=package / "web", check=True, capture_output=True, text=True, timeout=60
    )
    there = package / "web" / "static"
    once = {path.name: path.read_bytes() for path in there.iterdir()}
    subprocess.run(["node", "build.mjs"], cwd=package / "web", check=True, capture_output=True, timeout=60)
    assert once == {path.name: path.read_bytes() for path in there.iterdir()}
    digest = hashlib.sha256(once[NAME]).hexdigest()
    assert built_there.stdout == f"{digest}  {NAME}\n"
    assert json.loads(once["manifest.json"])["files"][NAME]["sha256"] == digest
