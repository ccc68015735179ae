"""Again and again: what is up to date at the receiver is not sent, and counts as delivered."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import pytest
import trio

from p2p_copy.files.state.journal import Journal
from p2p_copy.files.target.resume import ResumeIndex
from p2p_copy.files.target.target import Target
from p2p_copy.options import Conflict, Preserve
from p2p_copy.protocol.manifest import Manifest
from p2p_copy.protocol.messages import Accept, Entry, Holds, Kind, Message, Offer, Page, Reject
from p2p_copy.transfer import limits
from p2p_copy.transfer.tree.consumer import TreeConsumer
from p2p_copy.units import GIB, MIB
from tests.files.receipts.samples import differences, parsed
from tests.support.keys import both_sessions
from tests.support.lossy_relay import lossy_relay
from tests.support.transfers import Both, copy
from tests.support.trees import leftovers, make_tree, snapshot
from tests.support.two_sides import SEGMENT, TwoSides

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

UPDATE = {"conflict": Conflict.UPDATE}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path)


async def again(paths: Sequence[Path], out: Path, **receiving: Any) -> Both:
    return await copy(paths, out, receiving={**UPDATE, **receiving})


async def test_a_second_run_sends_no_contents(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = await again([tree], out)
    assert [report.up_to_date for report in first.reports] == [0, 0]
    before, inodes = snapshot(out), {path: path.lstat().st_ino for path in out.rglob("*")}
    async with lossy_relay() as relay:
        second = await copy([tree], out, relay=relay.address, receiving=UPDATE)
        assert relay.upstream < 10_000
    for one, other in zip(second.reports, first.reports, strict=True):
        assert (one.files, one.size, one.failures, one.skipped) == (other.files, other.size, 0, 0)
        assert one.up_to_date == one.files == 10
    assert second.reports[0].root == second.reports[1].root
    assert second.sender.saved == second.receiver.saved == second.reports[0].size
    assert not second.receiver.left
    assert snapshot(out) == before
    assert {path: path.lstat().st_ino for path in out.rglob("*")} == inodes
    assert not leftovers(out)


@pytest.mark.parametrize("how", ["contents", "time", "size", "gone"])
async def test_what_differs_is_replaced_and_the_rest_is_not(tree: Path, tmp_path: Path, how: str) -> None:
    out = tmp_path / "out"
    await again([tree], out)
    there, file = out / "a tree" / "d" / "text.txt", tree / "d" / "text.txt"
    old = there.stat()
    match how:
        case "contents":
            data = file.read_bytes()
            file.write_bytes(data[:5] + b"!" + data[6:])
        case "time":
            os.utime(there, ns=(5, 5))
        case "size":
            there.write_bytes(b"longer" + there.read_bytes())
            os.utime(there, ns=(old.st_mtime_ns, old.st_mtime_ns))
        case "gone":
            there.unlink()
    both = await again([tree], out)
    for report in both.reports:
        assert (report.files, report.up_to_date, report.failures) == (10, 9, 0)
    assert snapshot(out / "a tree") == snapshot(tree)
    assert os.stat(out / "a tree").st_mtime_ns == os.stat(tree).st_mtime_ns
    assert how == "gone" or there.stat().st_ino != old.st_ino, "it was replaced, and not written into"


async def test_modes_times_of_directories_and_links_are_brought_up_to_date(
    tree: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    await again([tree], out)
    copied = out / "a tree"
    (copied / "script").chmod(0o600)
    (copied / "d").chmod(0o700)
    os.utime(copied / "d" / "e", ns=(5, 5))
    os.utime(copied / "dangling", ns=(5, 5), follow_symlinks=False)
    (copied / "link to file").unlink()
    (copied / "link to file").symlink_to("elsewhere")
    both = await again([tree], out)
    assert both.reports[0].up_to_date == 10
    assert snapshot(copied) == snapshot(tree)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no modes")
@pytest.mark.usefixtures("small_segments")
@pytest.mark.parametrize("checksum", [False, True])
@pytest.mark.parametrize("size", [0, 10, 2 * SEGMENT + 5])
async def test_a_copy_made_of_hard_links_keeps_its_modes_and_times(
    tmp_path: Path, size: int, checksum: bool
) -> None:
    file, out, kept = tmp_path / "file", tmp_path / "out", tmp_path / "kept"
    file.write_bytes(os.urandom(size))
    os.utime(file, ns=(10**18, 10**18))
    await again([file], out)
    os.link(out / "file", kept)
    before = kept.stat()
    both = await again([file], out, checksum=checksum)
    assert both.reports[1].up_to_date == 1
    assert (out / "file").stat().st_ino == before.st_ino
    file.chmod(0o700)
    if checksum:
        os.utime(file, ns=(2 * 10**18, 2 * 10**18))
    await again([file], out, checksum=checksum)
    there = (out / "file").stat()
    assert (there.st_mode, there.st_mtime_ns) == (file.stat().st_mode, file.stat().st_mtime_ns)
    assert (out / "file").read_bytes() == kept.read_bytes() == file.read_bytes()
    assert (kept.stat().st_mode, kept.stat().st_mtime_ns) == (before.st_mode, before.st_mtime_ns)


@pytest.mark.skipif(sys.platform != "linux", reason="extended attributes are read on Linux only")
async def test_preserved_attributes_are_brought_up_to_date(tmp_path: Path) -> None:
    file, out = tmp_path / "file", tmp_path / "out"
    file.write_text("x")
    keep = {"preserve": (Preserve.XATTRS,)}
    os.setxattr(file, "user.new", b"1")
    os.setxattr(file, "user.same", b"2")
    await copy([file], out, sending=keep, receiving={**UPDATE, **keep})
    os.setxattr(out / "file", "user.new", b"old")
    os.setxattr(out / "file", "user.mine", b"old")
    both = await copy([file], out, sending=keep, receiving={**UPDATE, **keep})
    assert both.reports[1].up_to_date == 1
    found = {name: os.getxattr(out / "file", name) for name in os.listxattr(out / "file")}
    assert found == {"user.new": b"1", "user.same": b"2"}


@pytest.mark.skipif(sys.platform != "linux", reason="extended attributes are read on Linux only")
@pytest.mark.parametrize("checksum", [False, True])
async def test_a_copy_made_of_hard_links_keeps_its_attributes(tmp_path: Path, checksum: bool) -> None:
    file, out, kept = tmp_path / "file", tmp_path / "out", tmp_path / "kept"
    file.write_text("x")
    keep = {"preserve": (Preserve.XATTRS, Preserve.OWNER)[: 1 + (os.geteuid() == 0)]}
    update = {**UPDATE, **keep, "checksum": checksum}
    os.setxattr(file, "user.new", b"1")
    await copy([file], out, sending=keep, receiving=update)
    os.link(out / "file", kept)
    both = await copy([file], out, sending=keep, receiving=update)
    assert both.reports[1].up_to_date == 1
    assert (out / "file").stat().st_ino == kept.stat().st_ino
    for value in (b"1", b"2") if os.geteuid() == 0 else (b"2",):
        os.setxattr(file, "user.new", value)
        if value == b"1":
            os.chown(file, 1, 1)
        await copy([file], out, sending=keep, receiving=update)
        assert os.getxattr(out / "file", "user.new") == value
        assert (out / "file").stat().st_uid == file.stat().st_uid
        assert os.getxattr(kept, "user.new") == b"1"
        assert kept.stat().st_uid == os.geteuid()


@pytest.mark.parametrize("how", ["as they were", "one is gone", "one is a file of its own", "all are files"])
async def test_hard_links_are_made_again_without_sending_contents(tmp_path: Path, how: str) -> None:
    tree, out = tmp_path / "tree", tmp_path / "out"
    tree.mkdir()
    (tree / "a").write_bytes(os.urandom(100_000))
    for name in ("b", "c"):
        os.link(tree / "a", tree / name)
    keep = {"preserve": (Preserve.HARD_LINKS,)}
    await copy([tree], out, sending=keep, receiving={**UPDATE, **keep})
    there = out / "tree"
    _, *others = os.listdir(tree)  # the sender names them in this order, and the first one is the original
    for name in {"as they were": [], "all are files": others}.get(how, others[:1]):
        data, status = (there / name).read_bytes(), (there / name).stat()
        (there / name).unlink()
        if how != "one is gone":
            (there / name).write_bytes(data)
            os.utime(there / name, ns=(status.st_mtime_ns, status.st_mtime_ns))
    both = await copy([tree], out, sending=keep, receiving={**UPDATE, **keep})
    for report in both.reports:
        assert (report.files, report.up_to_date, report.failures) == (3, 3, 0)
    assert len({(there / name).stat().st_ino for name in "abc"}) == 1
    assert snapshot(there) == snapshot(tree)
    assert not leftovers(out)


async def test_a_receipt_says_what_was_compared(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    await again([tree], out)
    (out / "a tree" / "script").unlink()
    both = await copy(
        [tree],
        out,
        sending={"receipt": str(tmp_path / "sent.json")},
        receiving={**UPDATE, "receipt": str(tmp_path / "received.json")},
    )
    for name in ("sent.json", "received.json"):
        document = parsed(tmp_path / name)
        assert document["up_to_date"] == 9
        marked = {entry["path"] for entry in document["entries"] if entry.get("up_to_date")}
        assert len(marked) == 9
        verdict, told = differences(tmp_path / name, out, times=True, strict=True)
        assert not told
        assert (verdict.files, verdict.unread, verdict.root) == (10, 9, both.reports[0].root)
    text = out / "a tree" / "d" / "text.txt"
    old = text.stat()
    text.write_bytes(text.read_bytes()[::-1])
    assert set(differences(tmp_path / "received.json", out)[1]) == {"a tree/d/text.txt"}
    os.utime(text, ns=(old.st_mtime_ns, old.st_mtime_ns))
    assert not differences(tmp_path / "received.json", out)[1], "it has no digest of a file that was not read"


async def test_patterns_and_limits_go_with_it(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    await again([tree], out)
    both = await again([tree], out, exclude=["*.txt"], max_size=800_000)
    sent, received = both.reports
    assert sent.up_to_date == received.up_to_date == sent.files == 8
    assert sent.excluded == received.excluded == 2


@pytest.mark.usefixtures("small_segments")
@pytest.mark.parametrize("links", [1, 3])
async def test_it_goes_on_after_a_lost_link(tmp_path: Path, links: int) -> None:
    tree, out = tmp_path / "tree", tmp_path / "out"
    (tree / "old").mkdir(parents=True)
    for number in range(600):
        (tree / "old" / f"{number}").write_bytes(b"%d" % number)
    await again([tree], out)
    (tree / "old" / "7").write_bytes(b"changed")
    (tree / "new").write_bytes(os.urandom(8_000_000))
    more = {"patience": 20.0, "links": links}
    async with lossy_relay() as relay:
        relay.cut_after(3_000_000)
        both = await copy([tree], out, relay=relay.address, sending=more, receiving={**UPDATE, **more})
        assert relay.cuts == 1
    for report in both.reports:
        assert (report.files, report.up_to_date, report.failures) == (601, 599, 0)
    assert snapshot(out / "tree") == snapshot(tree)
    assert not leftovers(out)


@pytest.mark.usefixtures("small_segments")
async def test_a_side_that_is_started_again_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "OBSERVER_INTERVAL", 0)
    tree, out = tmp_path / "tree", tmp_path / "out"
    tree.mkdir()
    for number in range(20):
        (tree / f"{number:02}").write_bytes(os.urandom(600_000))
    await again([tree], out)
    for number in range(10):
        (tree / f"{number:02}").write_bytes(os.urandom(600_000))
    async with lossy_relay() as relay:
        sides = TwoSides(tmp_path, relay, tree)
        sides.options["receiver"] = UPDATE
        relay.dam = 4_500_000

        def arrived() -> bool:
            return sides.told["receiver"].last[1] > 10 * 600_000 + 3_000_000

        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sides.until, "receiver", arrived)
                await sides.until("sender", arrived)
        before = relay.upstream
        reports = {}

        async def run(role: str) -> None:
            reports[role] = await sides.start(role)

        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run, "sender")
                nursery.start_soon(run, "receiver")
        assert relay.upstream - before < 4_500_000
    for report in reports.values():
        assert (report.files, report.failures) == (20, 0)
        assert report.up_to_date == 10, "what an earlier run of this transfer brought was not up to date"
    assert snapshot(out / "tree") == snapshot(tree)
    assert not leftovers(out)


# By contents


CHECKSUM = {**UPDATE, "checksum": True}


async def test_with_checksum_only_contents_count(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    await again([tree], out)
    copied = out / "a tree"
    text = copied / "d" / "text.txt"
    old = text.stat()
    text.write_bytes(b"X" + text.read_bytes()[1:])
    os.utime(text, ns=(old.st_mtime_ns, old.st_mtime_ns))
    for name in ("script", "empty file", "d/e/e/p/random"):
        os.utime(copied / name, ns=(5, 5))
    (copied / "script").chmod(0o600)
    both = await copy(
        [tree],
        out,
        sending={"receipt": str(tmp_path / "sent.json")},
        receiving={**CHECKSUM, "receipt": str(tmp_path / "received.json")},
    )
    for report in both.reports:
        assert (report.files, report.up_to_date, report.failures) == (10, 9, 0)
    assert both.reports[0].root == both.reports[1].root
    assert snapshot(copied) == snapshot(tree)
    for name in ("sent.json", "received.json"):
        verdict, told = differences(tmp_path / name, out, times=True, strict=True)
        assert not told
        assert (verdict.files, verdict.unread) == (10, 1), (
            "all but the empty one were read, and have a digest"
        )


@pytest.mark.parametrize("conflict", [Conflict.UPDATE, Conflict.OVERWRITE])
@pytest.mark.parametrize("how", ["middle", "first", "last", "grown", "cut", "in front", "touched", "other"])
@pytest.mark.usefixtures("small_segments")
async def test_only_segments_that_differ_are_sent(tmp_path: Path, conflict: Conflict, how: str) -> None:
    file, out = tmp_path / "file", tmp_path / "out"
    data = os.urandom(8 * SEGMENT + 1000)
    file.write_bytes(data)
    await copy([file], out)
    os.utime(file, ns=(10**18, 10**18))
    place = {"middle": 4 * SEGMENT + 5, "first": 0, "last": len(data) - 1}.get(how)
    new, segments = {
        "grown": (data + data, 9),  # its last segment was a short one
        "cut": (data[: 3 * SEGMENT + 7], 1),  # the old file goes on there
        "in front": (b"x" + data, 9),
        "touched": (data, 0),
        "other": (os.urandom(len(data)), 9),
    }.get(how, (b"", 1))
    if place is not None:
        new = data[:place] + bytes((data[place] ^ 1,)) + data[place + 1 :]
    file.write_bytes(new)
    os.utime(file, ns=(2 * 10**18, 2 * 10**18))
    async with lossy_relay() as relay:
        both = await copy([file], out, relay=relay.address, receiving={"conflict": conflict})
        assert relay.upstream < segments * SEGMENT + 20_000
    same = how == "touched" and conflict is Conflict.UPDATE
    for report in both.reports:
        assert (report.files, report.size, report.failures, report.up_to_date) == (1, len(new), 0, same)
    assert both.sender.saved == both.receiver.saved >= len(new) - segments * SEGMENT
    assert (out / "file").read_bytes() == new
    assert os.stat(out / "file").st_mtime_ns == 2 * 10**18
    assert not leftovers(out)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc counts what is read")
async def test_holes_are_not_read(tmp_path: Path) -> None:
    size, file, out = 2 * GIB, tmp_path / "file", tmp_path / "out"
    for last in (b"x", b"y"):
        _write_sparse(file, size, last)
        before = _read_so_far()
        both = await again([file], out)
        assert _read_so_far() - before < 256 * MIB
    assert both.sender.saved == size - 16 * MIB
    assert (await again([file], out, checksum=True)).reports[1].up_to_date == 1, "it has the same digest"
    assert (out / "file").stat().st_blocks <= file.stat().st_blocks
    assert os.stat(out / "file").st_size == size


def _write_sparse(path: Path, size: int, last: bytes) -> None:
    """Make a file of one hole before some bytes in its middle, and one behind them."""
    with open(path, "wb") as stream:
        stream.truncate(size)
        stream.seek(size // 2)
        stream.write(last)


def _read_so_far() -> int:
    with open("/proc/self/io") as counts:
        return int(counts.readline().split()[1])


@pytest.mark.usefixtures("small_segments")
@pytest.mark.parametrize("cut", [500_000, 1_500_000, 3_000_000])
async def test_segments_are_compared_again_after_a_lost_link(tmp_path: Path, cut: int) -> None:
    file, out = tmp_path / "file", tmp_path / "out"
    data = bytearray(os.urandom(12 * SEGMENT + 1000))
    file.write_bytes(data)
    await copy([file], out)
    for number in (1, 5, 6, 11):
        data[number * SEGMENT + 77] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(10**18, 10**18))
    async with lossy_relay() as relay:
        relay.cut_after(cut)
        lasting = {"patience": 20.0}
        both = await copy([file], out, relay=relay.address, sending=lasting, receiving={**UPDATE, **lasting})
        assert relay.cuts == 1
        assert relay.upstream < 6 * SEGMENT
    assert both.reports[0].failures == both.reports[1].failures == 0
    assert (out / "file").read_bytes() == data
    assert not leftovers(out)


# What a sender learns


class Asked:
    """A receiver that updates, asked by a sender that means harm."""

    def __init__(self, out: Path) -> None:
        self._sender, receiver = both_sessions()
        self._sender.say(Offer("attacker/1"))
        receiver.hear(self._sender.record())
        receiver.say(Accept("r", True, True))
        self._sender.hear(receiver.record())
        self._target = Target(str(out), conflict=Conflict.UPDATE, resume=ResumeIndex(Journal(None)))
        manifest = Manifest(portable=True, key=bytes(16))
        self._consumer = TreeConsumer(self._target, receiver, manifest, max_size=None)

    def answers(self, *entries: Entry) -> list[Message]:
        """Return what the receiver says of these, but for progress."""
        self._sender.say(Page(entries))
        records = self._consumer.consume([self._sender.record()], 1.0)
        answers = [message for record in records for message in self._sender.hear(record)]
        return [answer for answer in answers if isinstance(answer, Holds | Reject)]

    def close(self) -> None:
        self._target.close()


@pytest.mark.parametrize("wrong", ["name", "size", "time", ""])
def test_a_sender_learns_only_whether_name_size_and_time_are_right_at_once(
    tmp_path: Path, wrong: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_bytes(b"secret")
    os.utime(out / "mine", ns=(10**18 + 5, 10**18 + 5))
    asked = Asked(out)
    entry = Entry(
        Kind.FILE,
        0,
        "mint" if wrong == "name" else "mine",
        0o644,
        10**18 + (6 if wrong == "time" else 5),
        7 if wrong == "size" else 6,
    )
    same = () if wrong else ((0, 1),)
    assert asked.answers(entry) == [Holds(1, (), same)], "no digest, and nothing else of the file"
    asked.close()
    assert (out / "mine").read_bytes() == b"secret"


@pytest.mark.skipif(sys.platform == "win32", reason="symlinks need a privilege there")
def test_nothing_is_up_to_date_through_a_symlink(tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    (elsewhere / "file").write_bytes(b"secret")
    os.utime(elsewhere / "file", ns=(10**18, 10**18))
    (out / "top").symlink_to(elsewhere)
    (out / "file").symlink_to(elsewhere / "file")
    asked = Asked(out)
    answers = asked.answers(
        Entry(Kind.FILE, 0, "file", 0o644, 10**18, 6),
        Entry(Kind.DIRECTORY, 0, "top", 0o755),
        Entry(Kind.FILE, 1, "file", 0o644, 10**18, 6),
    )
    assert [answer.same for answer in answers if isinstance(answer, Holds)] == [()]
    asked.close()


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pipes with names")
@pytest.mark.parametrize("conflict", [Conflict.UPDATE, Conflict.OVERWRITE])
async def test_a_symlink_replaces_no_pipe(tree: Path, tmp_path: Path, conflict: Conflict) -> None:
    out = tmp_path / "out"
    (out / "a tree").mkdir(parents=True)
    os.mkfifo(out / "a tree" / "dangling")
    both = await again([tree], out, conflict=conflict)
    assert (out / "a tree" / "dangling").is_fifo()
    assert set(both.receiver.problems) == {"a tree/dangling"}
    assert both.reports[1].failures == 1
