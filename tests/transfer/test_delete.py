"""The receiver's directories become the sender's: what the sender does not have is deleted, and nothing else ever."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

from p2p_copy.files import limits as files_limits
from p2p_copy.files.directory import Directory
from p2p_copy.files.state.store import States
from p2p_copy.options import Conflict, Preserve, Symlinks
from p2p_copy.transfer import limits
from tests.files.receipts.samples import parsed
from tests.support.lossy_relay import lossy_relay
from tests.support.transfers import Both, copy
from tests.support.trees import make_tree, snapshot
from tests.support.two_sides import SEGMENT, TwoSides

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p2p_copy.observer import Deletion

DELETE: dict[str, Any] = {"conflict": Conflict.UPDATE, "delete": True}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path)


async def again(paths: Sequence[Path], out: Path, **receiving: Any) -> Both:
    return await copy(paths, out, receiving={**DELETE, **receiving})


def clutter(top: Path) -> None:
    """Put things into a tree that the sender does not have."""
    (top / "old" / "deep").mkdir(parents=True)
    (top / "old" / "deep" / "file").write_text("x")
    (top / "old" / "deep").chmod(0o500)
    (top / "d" / "extra").write_text("x")
    (top / "d" / "e" / "empty").mkdir()
    if sys.platform != "win32":
        (top / "d" / "leads out").symlink_to(top.parent / "beside")
        (top / "leads into").symlink_to("d")


@pytest.mark.parametrize("conflict", [Conflict.UPDATE, Conflict.OVERWRITE])
async def test_what_the_sender_does_not_have_is_deleted_and_nothing_beside(
    tree: Path, tmp_path: Path, conflict: Conflict
) -> None:
    out = tmp_path / "out"
    first = await again([tree], out, conflict=conflict)
    assert [report.deleted for report in first.reports] == [0, 0]
    clutter(out / "a tree")
    (out / "beside").mkdir()
    (out / "beside" / "file").write_text("mine")
    (out / "other").write_text("mine")
    receipt = {"receipt": str(tmp_path / "receipt")}
    both = await again([tree], out, conflict=conflict, **receipt)
    sent, received = both.reports
    assert (sent.files, received.files, sent.failures, received.failures) == (10, 10, 0, 0)
    gone = {"old", "d/extra", "d/e/empty", "d/leads out", "leads into"}
    assert {f"a tree/{name}" for name in gone} == set(both.receiver.gone)
    assert (sent.deleted, received.deleted) == (0, len(gone))
    assert snapshot(out / "a tree") == snapshot(tree)
    assert (out / "beside" / "file").read_text() == (out / "other").read_text() == "mine"
    assert parsed(tmp_path / "receipt")["deleted"] == len(gone)


async def test_without_being_asked_to_nothing_is_deleted(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    await again([tree], out)
    clutter(out / "a tree")
    both = await again([tree], out, delete=False)
    assert (out / "a tree" / "d" / "extra").exists()
    assert not both.receiver.gone


def fail_to_read(tree: Path, out: Path) -> None:
    (tree / "socket").unlink(missing_ok=True)
    os.mkfifo(tree / "socket")


def fail_to_name(tree: Path, out: Path) -> None:
    (tree / "a:b").write_text("not portable")


def fail_to_take(tree: Path, out: Path) -> None:
    (out / "a tree" / "new").mkdir()
    (tree / "new").write_text("a file where a directory is")


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pipes with names")
@pytest.mark.parametrize("fail", [fail_to_read, fail_to_name, fail_to_take])
async def test_a_transfer_that_is_not_complete_deletes_nothing(tree: Path, tmp_path: Path, fail: Any) -> None:
    out = tmp_path / "out"
    await again([tree], out)
    clutter(out / "a tree")
    fail(tree, out)
    both = await again([tree], out)
    assert both.reports[0].failures == both.reports[1].failures == 1
    assert both.reports[1].deleted == 0
    assert (out / "a tree" / "d" / "extra").exists()
    assert [notice for notice in both.receiver.notices if "not everything was delivered" in notice]


@pytest.mark.parametrize(
    "sending", [{"exclude": ["*.log"]}, {"only": ["a tree/d"]}, {"symlinks": Symlinks.SKIP}]
)
async def test_what_the_sender_leaves_out_is_not_deleted(
    tree: Path, tmp_path: Path, sending: dict[str, Any]
) -> None:
    out = tmp_path / "out"
    await again([tree], out)
    clutter(out / "a tree")
    both = await copy([tree], out, sending=sending, receiving=DELETE)
    assert both.reports[1].deleted == 0
    assert (out / "a tree" / "d" / "extra").exists()
    assert [notice for notice in both.receiver.notices if "leaves out" in notice]


async def test_what_the_receiver_leaves_out_is_not_deleted(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    await again([tree], out)
    clutter(out / "a tree")
    for path in ("keep.log", "d/keep.log", "old/deep/keep.log"):
        (out / "a tree" / path).write_text("x")
    (out / "a tree" / "cache").mkdir()
    (out / "a tree" / "cache" / "file").write_text("x")
    (tree / "new.log").write_text("x")
    both = await again([tree], out, exclude=["*.log", "cache/"])
    assert "a tree/d/extra" in both.receiver.gone
    assert "a tree/old" not in both.receiver.gone
    there = set(snapshot(out / "a tree"))
    mine = {"keep.log", "d/keep.log", "old", "old/deep", "old/deep/keep.log", "cache", "cache/file"}
    theirs = set(snapshot(tree)) - {"new.log"}
    assert there == theirs | mine
    assert both.reports[1].failures == 0


async def test_only_what_is_selected_is_deleted(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    await again([tree], out)
    for path in ("d/extra.txt", "d/extra", "extra.txt"):
        (out / "a tree" / path).write_text("x")
    both = await again([tree], out, only=["*.txt"])
    assert sorted(both.receiver.gone) == ["a tree/d/extra.txt", "a tree/extra.txt"]
    assert (out / "a tree" / "d" / "extra").exists()
    assert (out / "a tree" / "script").exists(), "it is not selected, so it is not compared either"


async def test_unfinished_files_and_saved_states_stay(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    await again([tree], out)
    part = out / "a tree" / "d" / f".p2p-copy-{'0' * 32}.part"
    part.write_text("of another transfer")
    inside = out / "a tree" / "old" / f".p2p-copy-{'1' * 32}.part"
    inside.parent.mkdir()
    inside.write_text("of another transfer")
    states = out / "a tree" / "states"
    async with lossy_relay() as relay:
        sides = TwoSides(tmp_path, relay, tree)
        sides._memories["receiver"] = States(str(states))
        sides.options["receiver"] = DELETE
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sides.start, "sender")
                await sides.start("receiver")
    assert part.exists()
    assert inside.exists()
    assert states.is_dir()


async def test_a_name_that_differs_only_in_case_stays(tmp_path: Path) -> None:
    """On some systems it is the file that was just received."""
    tree, out = tmp_path / "tree", tmp_path / "out"
    tree.mkdir()
    (tree / "readme").write_text("x")
    await again([tree], out)
    (out / "tree" / "README").write_text("x")
    both = await again([tree], out)
    assert not both.receiver.gone
    (notice,) = both.receiver.notices
    assert notice.startswith("Not deleted")
    assert notice.endswith(": tree/README.")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take some of these names for one")
async def test_twins_that_the_sender_does_not_have_are_both_deleted(tmp_path: Path) -> None:
    tree, out = tmp_path / "tree", tmp_path / "out"
    tree.mkdir()
    (tree / "file").write_text("x")
    await again([tree], out)
    for name in ("twin", "TWIN", "caf\N{LATIN SMALL LETTER E WITH ACUTE}", "cafe\N{COMBINING ACUTE ACCENT}"):
        (out / "tree" / name).write_text("x")
    both = await again([tree], out)
    assert len(both.receiver.gone) == 4
    assert os.listdir(out / "tree") == ["file"]
    assert not both.receiver.notices


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take these names for one")
@pytest.mark.parametrize("deep", [False, True])
async def test_what_may_be_something_that_the_sender_cannot_send_stays(tmp_path: Path, deep: bool) -> None:
    """The receiver leaves it out, by a pattern that does not match its other spelling."""
    tree, out = tmp_path / "tree", tmp_path / "out"
    inner = tree / "inner" if deep else tree
    inner.mkdir(parents=True)
    os.mkfifo(inner / "pipe")
    await copy([tree], out, receiving={"exclude": ["pipe"]})
    there = out / inner.relative_to(tmp_path)
    (there / "PIPE").write_text("mine")
    (there / "extra").write_text("x")
    both = await again([tree], out, exclude=["pipe"])
    assert os.listdir(there) == ["PIPE"]
    assert len(both.receiver.gone) == 1
    (notice,) = both.receiver.notices
    assert notice.endswith(f": {there.relative_to(out)}/PIPE.")


async def test_another_file_system_is_not_entered(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    await again([tree], out)
    (out / "a tree" / "mount").mkdir()
    (out / "a tree" / "mount" / "file").write_text("x")
    real = Directory.mount

    def mount(self: Directory) -> tuple[int, str]:
        device, mounted = real(self)
        return device + (self.name == "mount"), mounted

    monkeypatch.setattr(Directory, "mount", mount)
    both = await again([tree], out)
    assert (out / "a tree" / "mount" / "file").exists()
    assert not both.receiver.gone


async def test_what_changed_after_it_was_listed_stays(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    await again([tree], out)
    for name in ("changed", "replaced", "gone", "same"):
        (out / "a tree" / name).write_text("x")

    async def meanwhile(deletion: Deletion) -> bool:
        assert deletion.count == 4
        (out / "a tree" / "changed").write_text("longer")
        (out / "a tree" / "replaced").unlink()
        (out / "a tree" / "replaced").mkdir()
        (out / "a tree" / "gone").unlink()
        (out / "a tree" / "new").write_text("x")
        return True

    both = await again([tree], out, ask_delete=meanwhile)
    assert both.receiver.gone == ["a tree/same"]
    assert set(both.receiver.problems) == {"a tree/changed", "a tree/replaced"}
    assert both.reports[1].failures == 2
    assert (out / "a tree" / "changed").read_text() == "longer"
    assert (out / "a tree" / "new").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="symlinks need a privilege there")
async def test_a_directory_that_becomes_a_symlink_is_not_followed(tree: Path, tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    await again([tree], out)
    elsewhere.mkdir()
    (elsewhere / "extra").write_text("mine")
    (out / "a tree" / "d" / "extra").write_text("x")

    async def meanwhile(_: Deletion) -> bool:
        (out / "a tree" / "d").rename(out / "moved")
        (out / "a tree" / "d").symlink_to(elsewhere)
        return True

    both = await again([tree], out, ask_delete=meanwhile)
    assert (elsewhere / "extra").read_text() == "mine"
    assert not both.receiver.gone
    assert set(both.receiver.problems) == {"a tree/d/extra"}


@pytest.mark.parametrize("answer", [False, None])
async def test_the_user_is_asked_and_may_say_no(
    tree: Path, tmp_path: Path, answer: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    await again([tree], out)
    clutter(out / "a tree")
    asked: list[Deletion] = []
    monkeypatch.setattr(limits, "DELETE_TIMEOUT", 0.2)
    monkeypatch.setattr(limits, "HEARTBEAT", 0.02)

    async def ask(deletion: Deletion) -> bool:
        asked.append(deletion)
        if answer is None:
            await trio.sleep_forever()
        return bool(answer)

    both = await again([tree], out, ask_delete=ask)
    (deletion,) = asked
    assert deletion.count == 5
    assert "a tree/old/" in deletion.first
    assert both.reports[1].deleted == both.reports[1].failures == 0
    assert (out / "a tree" / "d" / "extra").exists()
    assert [notice for notice in both.receiver.notices if notice.startswith("Nothing was deleted here")]


async def test_what_cannot_be_deleted_is_reported(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_limits, "EXTRAS_DEPTH", 3)
    out = tmp_path / "out"
    await again([tree], out)
    (out / "a tree" / "x/x/x/x/x").mkdir(parents=True)
    (out / "a tree" / "y").write_text("x")
    both = await again([tree], out)
    assert both.receiver.gone == ["a tree/y"]
    assert set(both.receiver.problems) == {"a tree/x"}
    assert (both.reports[0].failures, both.reports[1].failures) == (0, 1)


async def test_many_are_deleted_in_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_limits, "EXTRAS_IN_MEMORY", 1000)
    tree, out = tmp_path / "tree", tmp_path / "out"
    tree.mkdir()
    for number in range(2000):
        (tree / f"{number}").touch()
    await again([tree], out)
    for number in range(1900):
        (tree / f"{number}").unlink()
    both = await again([tree], out)
    assert both.reports[1].deleted == len(both.receiver.gone) == 1900
    assert len(os.listdir(out / "tree")) == 100


async def test_names_of_one_file_are_all_deleted(tmp_path: Path) -> None:
    tree, out = tmp_path / "tree", tmp_path / "out"
    tree.mkdir()
    (tree / "a").write_text("x")
    os.link(tree / "a", tree / "b")
    os.link(tree / "a", tree / "c")
    keep = {"preserve": (Preserve.HARD_LINKS,)}
    await copy([tree], out, sending=keep, receiving={**DELETE, **keep})
    (tree / "b").unlink()
    (tree / "c").unlink()
    both = await copy([tree], out, sending=keep, receiving={**DELETE, **keep})
    assert sorted(both.receiver.gone) == ["tree/b", "tree/c"]
    assert both.reports[1].failures == 0


@pytest.mark.usefixtures("small_segments")
@pytest.mark.parametrize("links", [1, 3])
async def test_it_deletes_once_after_a_lost_link(tmp_path: Path, links: int) -> None:
    tree, out = tmp_path / "tree", tmp_path / "out"
    (tree / "d").mkdir(parents=True)
    (tree / "d" / "file").write_bytes(os.urandom(6 * SEGMENT))
    await again([tree], out)
    (out / "tree" / "d" / "extra").write_text("x")
    (tree / "d" / "file").write_bytes(os.urandom(6 * SEGMENT))
    seen: list[bool] = []
    more = {"patience": 20.0, "links": links}
    async with lossy_relay() as relay:
        relay.on_cut = lambda: seen.append((out / "tree" / "d" / "extra").exists())
        relay.cut_after(2 * SEGMENT)
        both = await copy([tree], out, relay=relay.address, sending=more, receiving={**DELETE, **more})
    assert seen == [True]
    assert both.receiver.gone == ["tree/d/extra"]
    assert snapshot(out / "tree") == snapshot(tree)


@pytest.mark.usefixtures("small_segments")
async def test_a_receiver_that_is_killed_while_it_deletes_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree, out = tmp_path / "tree", tmp_path / "out"
    tree.mkdir()
    (tree / "file").write_bytes(b"x")
    await again([tree], out)
    for number in range(20):
        (out / "tree" / f"{number:02}").write_text("x")
    monkeypatch.setattr(limits, "DELETE_AT_ONCE", 1)
    async with lossy_relay() as relay:
        sides = TwoSides(tmp_path, relay, tree)
        sides.options["receiver"] = DELETE
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sides.start, "sender")
                await sides.until("receiver", lambda: len(os.listdir(out / "tree")) < 15)
                left = len(os.listdir(out / "tree"))
                report = await sides.start("receiver")
    assert left > 1
    assert report.deleted == left - 1
    assert os.listdir(out / "tree") == ["file"]


async def test_what_changed_deeper_in_a_listed_directory_stays(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    await again([tree], out)
    deep = out / "a tree" / "extra" / "deep"
    deep.mkdir(parents=True)
    for name in ("edited", "overwritten", "same"):
        (deep / name).write_text("x")
    (deep.parent / "filled").mkdir()
    (deep.parent / "filled" / "old").write_text("x")
    linked = deep.parent / "linked"
    linked.mkdir()
    for name in ("1", "2"):
        os.link(deep / "same", linked / name)
    before = (deep / "overwritten").stat()

    async def meanwhile(_: Deletion) -> bool:
        (deep / "edited").write_text("new contents")
        (deep / "overwritten").write_text("y")
        os.utime(deep / "overwritten", ns=(before.st_atime_ns, before.st_mtime_ns))
        (deep.parent / "filled" / "new").write_text("x")
        return True

    both = await again([tree], out, ask_delete=meanwhile)
    changed = {"a tree/extra/deep/edited", "a tree/extra/filled"}
    if sys.platform != "win32":  # it has no time that always changes
        changed.add("a tree/extra/deep/overwritten")
    assert set(both.receiver.problems) == changed
    assert sorted(both.receiver.gone) == ["a tree/extra/deep/same", "a tree/extra/linked"]
    assert both.reports[1].deleted == 2
    assert (deep / "edited").read_text() == "new contents"
    assert sorted(os.listdir(deep.parent / "filled")) == ["new", "old"]


async def test_what_is_deleted_in_a_directory_that_stays_is_reported(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    await again([tree], out)
    extra = out / "a tree" / "extra"
    for path in ("a/file", "b/file", "b/keep.log"):
        (extra / path).parent.mkdir(parents=True, exist_ok=True)
        (extra / path).write_text("x")
    both = await again([tree], out, exclude=["*.log"])
    assert sorted(both.receiver.gone) == ["a tree/extra/a", "a tree/extra/b/file"]
    assert both.reports[1].deleted == 2
    assert sorted(os.listdir(extra)) == ["b"]


async def test_a_cancellation_ends_the_deletion_inside_a_directory(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    await again([tree], out)
    extra = out / "a tree" / "extra"
    extra.mkdir()
    for number in range(20):
        (extra / f"{number}").write_text("x")
    scope = trio.CancelScope()
    real = Directory.unlink

    def unlink(self: Directory, name: str) -> None:
        real(self, name)
        if self.name == "extra":
            trio.from_thread.run_sync(scope.cancel)

    monkeypatch.setattr(Directory, "unlink", unlink)
    with scope:
        await again([tree], out)
    assert scope.cancelled_caught
    assert len(os.listdir(extra)) == 19


@pytest.mark.skipif(sys.platform != "linux", reason="no other system has all of these names")
@pytest.mark.parametrize(
    ("name", "patterns"),
    [
        (b"caf\xe9.txt", {"only": ["caf?.txt"]}),
        (b"b\xe9.dat", {"exclude": ["*[0-9]*"]}),
        (b"a\x01b", {"only": ["a?b"]}),
    ],
)
async def test_what_the_sender_cannot_name_is_not_deleted(
    tmp_path: Path, name: bytes, patterns: dict[str, Any]
) -> None:
    """The sender tells its name escaped, and patterns may match that differently."""
    tree, out = tmp_path / "tree", tmp_path / "out"
    tree.mkdir()
    (tree / "file").write_text("x")
    await again([tree], out)
    (tree / os.fsdecode(name)).write_text("the sender has it")
    (out / "tree" / os.fsdecode(name)).write_text("mine")
    (out / "tree" / "extra").write_text("x")
    both = await again([tree], out, **patterns)
    assert not both.receiver.gone
    assert (out / "tree" / os.fsdecode(name)).exists()
    assert [notice for notice in both.receiver.notices if notice.startswith("Nothing was deleted here")]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pipes with names")
async def test_what_the_sender_cannot_send_and_the_receiver_leaves_out_hinders_nothing(
    tree: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    await again([tree], out)
    clutter(out / "a tree")
    os.mkfifo(tree / "pipe")
    both = await again([tree], out, exclude=["pipe"])
    assert "a tree/d/extra" in both.receiver.gone
    assert both.reports[1].failures == 0


_IN_A_NAMESPACE = """
import subprocess, sys, trio
from pathlib import Path
from tests.transfer.test_delete import again

tree, out, mine = map(Path, sys.argv[1:])
subprocess.run(["mount", "--bind", mine, out / "tree" / "extra" / "mount"], check=True)
both = trio.run(again, [tree], out)
print(both.receiver.gone, both.reports[1].failures)
"""


@pytest.mark.slow  # another Python starts, in a namespace of its own
@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no bind mounts")
async def test_another_mount_of_the_same_file_system_is_not_entered(tmp_path: Path) -> None:
    tree, out, mine = tmp_path / "tree", tmp_path / "out", tmp_path / "mine"
    unshare = ["unshare", "--user", "--map-root-user", "--mount"]
    if not shutil.which("unshare"):
        pytest.skip("there is no unshare here")
    if (await trio.run_process([*unshare, "true"], check=False, capture_stderr=True)).returncode:
        pytest.skip("namespaces are not allowed here")
    for directory in (tree, mine, out / "tree" / "extra" / "mount"):
        directory.mkdir(parents=True)
    (tree / "file").write_text("x")
    (mine / "precious").write_text("mine")
    (out / "tree" / "extra" / "old").write_text("x")
    command = [*unshare, sys.executable, "-c", _IN_A_NAMESPACE, str(tree), str(out), str(mine)]
    top = Path(__file__).parents[2]
    done = await trio.run_process(command, capture_stdout=True, cwd=top)
    assert done.stdout.decode().strip() == "['tree/extra/old'] 0"
    assert (mine / "precious").exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has a device that is always full")
@pytest.mark.parametrize("in_memory", [1, 1_000_000])
async def test_a_list_that_cannot_be_written_deletes_nothing(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_memory: int
) -> None:
    monkeypatch.setattr(files_limits, "EXTRAS_IN_MEMORY", in_memory)
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: open("/dev/full", "w+", encoding="ascii"))  # noqa: SIM115
    out = tmp_path / "out"
    await again([tree], out)
    for number in range(1000):
        (out / "a tree" / f"{number:040}").touch()
    both = await again([tree], out)
    full = in_memory == 1
    assert both.reports[1].failures == 0
    assert both.reports[1].deleted == (0 if full else 1000)
    assert [notice for notice in both.receiver.notices if "did not fit" in notice] == both.receiver.notices
    assert bool(both.receiver.notices) == full
