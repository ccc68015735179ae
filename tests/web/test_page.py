"""The page in Chromium, with real relays and commands on the other side."""

from __future__ import annotations

import json
import os
import re
import signal
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.processes import Running, receiver, sender
from tests.web.conftest import World, ask, download, receive, status, until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.once,
    pytest.mark.slow,  # a browser, a relay and a command have to start for each of these
]

MIB = 1024 * 1024


def make_tree(place: Path, *, large: int = 3 * MIB) -> Path:
    tree = place / "tree"
    (tree / "sub" / "empty").mkdir(parents=True)
    (tree / "zero").touch()
    (tree / "sub" / "große Datei 😀.bin").write_bytes(os.urandom(large))
    for number in range(60):
        (tree / "sub" / f"small {number}").write_bytes(os.urandom(number * 40))
    return tree


def same(one: Path, other: Path) -> bool:
    """Tell whether two trees have the same names and contents."""
    found = [
        {path.relative_to(top): path.read_bytes() if path.is_file() else None for path in top.rglob("*")}
        for top in (one, other)
    ]
    return found[0] == found[1]


def unpack(archive: Path, to: Path) -> Path:
    with zipfile.ZipFile(archive) as opened:
        assert opened.testzip() is None
        opened.extractall(to)
    return to


def stored(page: Any) -> list[str]:
    """Return the files that the browser keeps."""
    names: str = page.evaluate(
        """async () => {
            const root = await navigator.storage.getDirectory();
            const names = [];
            for await (const folder of root.values()) for await (const name of folder.keys()) names.push(name);
            return JSON.stringify(names);
        }"""
    )
    return list(json.loads(names))


def test_a_single_file_arrives_as_it_is(world: World, tmp_path: Path) -> None:
    (tmp_path / "one.bin").write_bytes(os.urandom(MIB + 1))
    sending = sender(world.relay, tmp_path / "one.bin")
    receive(world.page)
    status(world.page, "Received")
    (tmp_path / "got").mkdir()
    got = download(world.page, tmp_path / "got")
    assert got.name == "one.bin"
    assert got.read_bytes() == (tmp_path / "one.bin").read_bytes()
    assert sending.wait()[0] == 0


def test_it_is_saved_into_a_folder_and_replaces_nothing(world: World, tmp_path: Path) -> None:
    tree = make_tree(tmp_path, large=1000)
    sending = sender(world.relay, tree)
    # The dialogue of the system is not part of the page; any directory of the browser's does in its place.
    world.page.evaluate(
        """async () => {
            const root = await navigator.storage.getDirectory();
            const chosen = await root.getDirectoryHandle('chosen', { create: true });
            await chosen.getDirectoryHandle('tree', { create: true });
            window.showDirectoryPicker = async () => chosen;
        }"""
    )
    receive(world.page)
    status(world.page, "Received")
    world.page.click("#save")
    world.page.get_by_text("Saved as tree (2).", exact=True).wait_for()
    size = world.page.evaluate(
        """async () => {
            const root = await navigator.storage.getDirectory();
            const tree = await (await root.getDirectoryHandle('chosen')).getDirectoryHandle('tree (2)');
            const sub = await tree.getDirectoryHandle('sub');
            await sub.getDirectoryHandle('empty');
            return (await (await sub.getFileHandle('small 7')).getFile()).size;
        }"""
    )
    assert size == 280
    assert sending.wait()[0] == 0


def test_a_folder_that_cannot_be_written_may_be_chosen_again(world: World, tmp_path: Path) -> None:
    (tmp_path / "one.bin").write_bytes(b"one")
    sending = sender(world.relay, tmp_path / "one.bin")
    world.page.evaluate(
        """async () => {
            const root = await navigator.storage.getDirectory();
            const gone = await root.getDirectoryHandle('gone', { create: true });
            await root.removeEntry('gone');
            window.showDirectoryPicker = async () => gone;
        }"""
    )
    receive(world.page)
    status(world.page, "Received")
    world.page.click("#save")
    world.page.get_by_text("the folder cannot be written. Choose another one").wait_for()
    assert world.page.is_enabled("#save")
    assert world.page.inner_text("#status") == "Received"
    assert sending.wait()[0] == 0


def test_a_symlink_is_refused_and_both_sides_say_so(world: World, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_text("contents")
    (tree / "link").symlink_to("file")
    sending = sender(world.relay, tree)
    receive(world.page)
    assert "1 thing did not arrive" in status(world.page, "Received, but not all")
    assert world.page.inner_text("#problem-list").startswith("tree/link is of a kind")
    code, _, errors = sending.wait()
    assert code == 3
    assert "tree/link" in errors


def test_a_typo_is_caught_before_the_relay_hears_of_it(world: World) -> None:
    world.page.fill("#code", "abacus.abdomen-abdominal.abide.abidin")
    world.page.press("#code", "Enter")
    world.page.get_by_text("The code has a typo").wait_for()
    assert not any(b" /v1/" in asked for asked in world.proxy.asked)


def test_words_are_completed(world: World) -> None:
    world.page.locator("#code").press_sequentially("abacus.abdom")
    world.page.wait_for_selector("#completions option", state="attached")
    options = world.page.eval_on_selector_all(
        "#completions option", "found => found.map((each) => each.value)"
    )
    assert options == ["abacus.abdomen", "abacus.abdominal"]


def test_a_link_leaves_no_code_in_the_address(world: World, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("contents")
    sending = sender(world.relay, tmp_path / "file")
    page = world.open(fragment="#lab7-a%20long%20passphrase")
    page.click("#accept")
    status(page, "Received")
    assert page.url == world.url
    assert not any(b"passphrase" in asked for asked in world.proxy.asked)
    assert sending.wait()[0] == 0


def test_a_link_that_comes_later_leaves_no_code_in_the_address(world: World, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("contents")
    sending = sender(world.relay, tmp_path / "file")
    world.page.locator("#start").wait_for()
    world.page.evaluate("() => (location.hash = 'lab7-a%20long%20passphrase')")
    world.page.click("#accept")
    assert world.page.url == world.url
    status(world.page, "Received")
    assert sending.wait()[0] == 0


def test_a_sender_waits_on_after_the_page_has_declined(world: World, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("contents")
    sending = sender(world.relay, tmp_path / "file")
    ask(world.page)
    world.page.click("#decline")
    status(world.page, "Declined")
    assert not stored(world.page)
    world.page.click("#again")
    receive(world.page)
    status(world.page, "Received")
    assert sending.wait()[0] == 0


LARGE = 40 * MIB
"""Two segments and a half: a receiver keeps whole segments of a file that has not come to its end."""

MIDDLE = 20 * MIB


def begin(world: World, tmp_path: Path, address: str = "") -> tuple[Path, Running]:
    """Begin a transfer to the page; return once its first segment is here, and only little comes after it."""
    tree = make_tree(tmp_path, large=LARGE)
    world.proxy.slow_after = MIDDLE
    sending = sender(address or world.relay, tree, options=("--json", *world.trust))
    receive(world.page)
    halfway(world.page)
    return tree, sending


def halfway(page: Any, size: int = LARGE) -> None:
    """Wait until the page shows that the first segment is over, of a transfer of `size` bytes."""
    page.wait_for_selector("#bar")
    until(page, f"() => document.getElementById('bar').value >= {0.45 * LARGE / size}")


def check(page: Any, tree: Path, sending: Running, tmp_path: Path) -> list[str]:
    """Check that everything arrives in the end; return the names of the sender's events."""
    status(page, "Received")
    archive = download(page, tmp_path)
    code, out, errors = sending.wait()
    assert code == 0, errors
    assert same(unpack(archive, tmp_path / "got") / "tree", tree)
    return [json.loads(line)["event"] for line in out.splitlines()]


def test_a_link_that_is_lost_comes_back(world: World, tmp_path: Path) -> None:
    tree, sending = begin(world, tmp_path)
    assert world.proxy.cut()
    events = check(world.page, tree, sending, tmp_path)
    assert "resumed" in events


def test_a_tab_that_is_closed_is_noticed_and_another_goes_on(world: World, tmp_path: Path) -> None:
    tree, sending = begin(world, tmp_path)
    world.page.close()
    assert sending.process.stdout is not None
    while json.loads(sending.process.stdout.readline())["event"] != "reconnecting":
        pass
    world.proxy.hurry()
    page = world.open()
    events = check(page, tree, sending, tmp_path)
    assert "resumed" in events


def test_a_second_tab_leaves_the_transfer_to_the_first(world: World, tmp_path: Path) -> None:
    tree, sending = begin(world, tmp_path)
    second = world.open()
    second.get_by_role("heading", name="In this browser").wait_for()
    world.proxy.hurry()
    events = check(world.page, tree, sending, tmp_path)
    assert "reconnecting" not in events


def test_a_sender_that_stands_still_is_named(world: World, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(os.urandom(LARGE))
    world.page.clock.install()  # of the page, not of its worker
    world.page.reload()
    sending = sender(world.relay, tmp_path / "file", options=("--limit-rate", "2M"))
    receive(world.page)
    until(world.page, "() => document.getElementById('bar').value > 0")
    sending.process.send_signal(signal.SIGSTOP)
    while not world.page.is_visible("#stall"):
        world.page.clock.fast_forward("00:15")  # what was under way may still come, which ends the stall
    assert re.match(r"Nothing moves\. .*\bsender\b", world.page.inner_text("#stall"))
    sending.process.send_signal(signal.SIGCONT)
    until(world.page, "() => document.getElementById('stall').hidden")
    sending.kill()


def test_nothing_is_kept_of_a_transfer_that_the_person_stops(world: World, tmp_path: Path) -> None:
    _, sending = begin(world, tmp_path)
    assert stored(world.page)
    world.page.click("#stop")
    status(world.page, "Stopped")
    assert sending.wait()[0] != 0
    assert not stored(world.page)


def choose_folder(page: Any, tree: Path) -> str:
    """Choose a folder to send, and return the code."""
    page.set_input_files("#folder", str(tree))
    page.click("#send")
    page.locator("#qr svg").wait_for()
    return str(page.inner_text("#code-shown"))


def test_a_folder_is_sent_to_the_command_line(world: World, tmp_path: Path) -> None:
    tree = make_tree(tmp_path)
    (
        tree / "sub" / "empty"
    ).rmdir()  # a browser does not tell of it when a folder is chosen, but when it is dropped
    code = choose_folder(world.page, tree)
    receiving = receiver(world.relay, tmp_path / "out", code=code, options=("--yes",))
    assert "62 files" in status(world.page, "Sent")
    ended, _, errors = receiving.wait()
    assert ended == 0, errors
    assert same(tmp_path / "out" / "tree", tree)


def test_a_folder_that_is_dropped_is_sent_with_its_empty_folders(world: World, tmp_path: Path) -> None:
    tree = make_tree(tmp_path)
    # The dragging itself is the system's; Chromium takes it from a debugger as it takes it from there.
    debugger = world.context.new_cdp_session(world.page)
    box = world.page.locator("#drop").bounding_box()
    dragged = {"items": [], "files": [str(tree)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        at = {"x": box["x"] + 9, "y": box["y"] + 9}
        debugger.send("Input.dispatchDragEvent", {"type": kind, **at, "data": dragged})
    world.page.get_by_text("62 files, 3.1 MiB").wait_for()
    world.page.click("#send")
    world.page.locator("#qr svg").wait_for()
    code = world.page.inner_text("#code-shown")
    assert re.fullmatch(r"p2p-copy receive --server wss?://[0-9.:]+", world.page.inner_text("#command"))
    receiving = receiver(world.relay, tmp_path / "out", code=code, options=("--yes",))
    status(world.page, "Sent")
    ended, _, errors = receiving.wait()
    assert ended == 0, errors
    assert same(tmp_path / "out" / "tree", tree)


def test_what_the_receiver_refuses_is_shown_to_the_sender(world: World, tmp_path: Path) -> None:
    tree = make_tree(tmp_path, large=10)
    (tmp_path / "out" / "tree").mkdir(parents=True)
    (tmp_path / "out" / "tree" / "zero").write_text("older")
    code = choose_folder(world.page, tree)
    receiving = receiver(world.relay, tmp_path / "out", code=code, options=("--yes",))
    assert "1 thing did not arrive" in status(world.page, "Sent, but not all")
    assert world.page.inner_text("#problem-list") == "tree/zero already exists at the receiver."
    assert receiving.wait()[0] == 3
    assert (tmp_path / "out" / "tree" / "zero").read_text() == "older"


def test_a_sender_comes_back_after_its_link_was_lost(world: World, tmp_path: Path) -> None:
    tree = make_tree(tmp_path, large=LARGE)
    (tree / "sub" / "empty").rmdir()
    world.proxy.slow_after = MIDDLE
    code = choose_folder(world.page, tree)
    receiving = receiver(world.relay, tmp_path / "out", code=code, options=("--yes",))
    halfway(world.page)
    assert world.proxy.cut()
    status(world.page, "Sent")
    ended, _, errors = receiving.wait()
    assert ended == 0, errors
    assert same(tmp_path / "out" / "tree", tree)


def test_a_receiver_hears_that_the_sending_tab_was_closed(world: World, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("contents")
    world.page.set_input_files("#files", str(tmp_path / "file"))
    world.page.click("#send")
    code = world.page.locator("#code-shown:not(:empty)").inner_text()
    other = world.open(world.visitor())
    ask(other, code)
    world.page.close()
    assert "its page was closed" in status(other, "It did not work")


def test_two_browsers_with_each_other(world: World, tmp_path: Path) -> None:
    tree = make_tree(tmp_path)
    (tree / "sub" / "empty").rmdir()
    choose_folder(world.page, tree)
    link = world.page.get_attribute("#copy-link", "data-link")
    assert link.startswith(f"{world.url}#")
    other = world.open(world.visitor(), link.removeprefix(world.url))
    other.click("#accept")
    status(other, "Received")
    status(world.page, "Sent")
    archive = download(other, tmp_path)
    assert same(unpack(archive, tmp_path / "got") / "tree", tree)
