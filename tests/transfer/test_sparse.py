"""Files with holes: the holes are not read, sent or written, and the contents are the same."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
import trio

from p2p_copy.errors import PeerMisbehaved
from p2p_copy.files.source.entry import SourceEntry, SourceTrees
from p2p_copy.files.source.reader import SourceFailed, SourceFile, open_source
from p2p_copy.files.source.walk import walk
from p2p_copy.observer import Report
from p2p_copy.options import Conflict
from p2p_copy.protocol import limits
from p2p_copy.protocol.digest import FileDigest, RootDigest
from p2p_copy.protocol.messages import Data, FileEnd, Finish, Goodbye, Hole, Message, Page, Reason
from p2p_copy.transfer import limits as transfer_limits
from p2p_copy.units import GIB, KIB, MIB
from tests.support.lossy_relay import lossy_relay
from tests.support.malicious_sender import attack, file
from tests.support.transfers import copy
from tests.support.trees import leftovers
from tests.support.two_sides import TwoSides, through

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def file_system_with_holes(tmp_path: Path) -> None:
    probe = sparse(tmp_path / "probe", 4 * MIB, {})
    if not hasattr(os, "SEEK_DATA") or room(probe) >= 4 * MIB:
        pytest.skip("this system, or its file system, has no holes that it tells of")
    probe.unlink()


def sparse(path: Path, size: int, data: dict[int, bytes]) -> Path:
    """Make a file that is a hole except for these data by offset."""
    with path.open("wb") as one:
        for offset, piece in data.items():
            one.seek(offset)
            one.write(piece)
        one.truncate(size)
        os.fsync(one.fileno())
    return path


def room(path: Path) -> int:
    """Return the bytes that a file takes on the disk."""
    return path.stat().st_blocks * 512


def found(path: Path) -> SourceEntry:
    (one,) = walk(SourceTrees([str(path)]))
    assert isinstance(one, SourceEntry)
    return one


def pieces(source: SourceFile, offset: int = 0) -> list[int]:
    """Return the lengths of the pieces that are read; those of holes are negative."""
    return [
        -piece if isinstance(piece, int) else len(piece) for piece in source.read_pieces(lambda: MIB, offset)
    ]


def test_holes_are_told_and_not_read(tmp_path: Path) -> None:
    path = sparse(tmp_path / "file", 10 * MIB, {2 * MIB: b"x" * (2 * MIB), 7 * MIB: b"y" * MIB})
    with open_source(found(path)) as source:
        assert pieces(source) == [-2 * MIB, MIB, MIB, -3 * MIB, MIB, -2 * MIB]
        assert pieces(source, 3 * MIB) == [MIB, -3 * MIB, MIB, -2 * MIB]
        assert pieces(source, 9 * MIB) == [-MIB]
        assert pieces(source, 10 * MIB) == []


def test_no_hole_is_told_as_longer_than_a_record_may_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_RECORD_HOLES", 4 * MIB)
    with open_source(found(sparse(tmp_path / "file", 10 * MIB, {}))) as source:
        assert pieces(source) == [-4 * MIB, -4 * MIB, -2 * MIB]


def test_a_file_system_that_does_not_tell_of_holes_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sparse(tmp_path / "file", 2 * MIB, {})
    seek = os.lseek

    def lseek(fd: int, at: int, how: int) -> int:
        if how in (os.SEEK_DATA, os.SEEK_HOLE):
            raise OSError(22, "Invalid argument")
        return seek(fd, at, how)

    monkeypatch.setattr(os, "lseek", lseek)
    with open_source(found(path)) as source:
        assert pieces(source) == [MIB, MIB]


def test_a_file_that_changes_while_its_last_hole_is_passed_is_noticed(tmp_path: Path) -> None:
    path = sparse(tmp_path / "file", 4 * MIB, {0: b"x" * MIB})
    with open_source(found(path)) as source:
        reading = source.read_pieces(lambda: MIB)
        next(reading)
        os.truncate(path, 5 * MIB)
        with pytest.raises(SourceFailed) as failed:
            next(reading)
    assert failed.value.reason is Reason.CHANGED


def test_a_segment_without_data_has_the_leaf_of_zeros(tmp_path: Path, small_segments: None) -> None:
    path = sparse(tmp_path / "file", 4 * MIB, {2 * MIB: b"x"})
    with open_source(found(path)) as source:
        leaves = [source.leaf(number) for number in range(4)]
    digest = FileDigest(4 * MIB)
    digest.update(path.read_bytes())
    assert b"".join(leaves) == digest.leaves


async def test_a_large_sparse_file_is_sent_fast_and_stays_sparse(tmp_path: Path) -> None:
    if shutil.disk_usage(tmp_path).free < 21 * GIB:
        pytest.skip("a receiver takes no file that is larger than the space on its disk")
    data = {0: b"first", 5 * GIB + 77: os.urandom(3 * MIB), 20 * GIB - 9: b"last"}
    path = sparse(tmp_path / "file", 20 * GIB, data)
    async with lossy_relay() as it:
        both = await copy([path], tmp_path / "out", relay=it.address)
    sent, received = both.reports
    assert (sent.root, sent.size) == (received.root, 20 * GIB)
    there = tmp_path / "out" / "file"
    assert there.stat().st_size == 20 * GIB
    assert there.stat().st_mtime_ns == path.stat().st_mtime_ns
    assert room(there) <= room(path) + 4 * MIB
    with there.open("rb") as one:
        for offset, piece in data.items():
            one.seek(offset)
            assert one.read(len(piece)) == piece
    assert it.upstream < 4 * MIB


@pytest.mark.parametrize("size", [MIB, 3 * MIB + 1])
async def test_a_file_that_is_one_hole_arrives(tmp_path: Path, size: int) -> None:
    path = sparse(tmp_path / "file", size, {})
    both = await copy([path], tmp_path / "out")
    assert both.reports[0].files == 1
    there = tmp_path / "out" / "file"
    assert there.read_bytes() == bytes(size)
    assert room(there) < MIB


async def test_long_zeros_that_take_room_take_room_at_the_receiver_too(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(3 * MIB))
    await copy([tmp_path / "file"], tmp_path / "out")
    assert room(tmp_path / "out" / "file") >= 3 * MIB


def some_holes(path: Path) -> dict[int, bytes]:
    """Make a file with data in every second 600 KiB, and a hole of 40 MiB; return the data."""
    step = 600 * KIB
    data = {at: os.urandom(step) for at in range(0, 12 * MIB, 2 * step)}
    data |= {at: os.urandom(step) for at in range(52 * MIB, 60 * MIB, 2 * step)}
    sparse(path, 64 * MIB, data)
    return data


@pytest.mark.usefixtures("small_segments")
async def test_a_sparse_file_goes_on_where_its_link_was_cut(tmp_path: Path) -> None:
    path = tmp_path / "file"
    some_holes(path)
    async with lossy_relay() as it:
        it.cut_after(2_000_000, 2_500_000, 2_500_000)
        both = await through(it, path, tmp_path / "out")
    assert it.cuts == 3
    assert both.reports[0].root == both.reports[1].root
    assert (tmp_path / "out" / "file").read_bytes() == path.read_bytes()
    assert room(tmp_path / "out" / "file") <= room(path) + 2 * MIB
    assert not leftovers(tmp_path / "out")


@pytest.mark.usefixtures("small_segments")
@pytest.mark.parametrize("role", ["sender", "receiver"])
async def test_a_sparse_file_goes_on_after_a_kill(tmp_path: Path, role: str) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    some_holes(tree / "file")
    async with lossy_relay() as it:
        again = TwoSides(tmp_path, it, tree)
        other = {"sender": "receiver", "receiver": "sender"}[role]
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(again.start, other)
                await again.kill(role, 5_000_000)
                await again.start(role)
    there = tmp_path / "out" / "tree" / "file"
    assert there.read_bytes() == (tree / "file").read_bytes()
    assert room(there) <= room(tree / "file") + 2 * MIB
    assert not leftovers(tmp_path / "out")


@pytest.mark.usefixtures("small_segments")
@pytest.mark.parametrize("conflict", [Conflict.OVERWRITE, Conflict.UPDATE])
async def test_a_sparse_file_that_replaces_an_older_one_stays_sparse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, conflict: Conflict
) -> None:
    monkeypatch.setattr(transfer_limits, "COMPARE_AT_ONCE", 4 * MIB)
    monkeypatch.setattr(limits, "MAX_RECORD_HOLES", 16 * MIB)
    data = {0: os.urandom(4 * MIB - 64 * KIB), 40 * MIB + 500 * KIB: os.urandom(64 * KIB)}
    path = sparse(tmp_path / "file", 60 * MIB, data)
    await copy([path], tmp_path / "out")
    with path.open("r+b") as one:
        one.write(b"changed")
    os.utime(path, ns=(10**18, 10**18))
    both = await copy([path], tmp_path / "out", receiving={"conflict": conflict})
    assert both.receiver.saved == 59 * MIB
    there = tmp_path / "out" / "file"
    assert there.read_bytes() == path.read_bytes()
    assert room(there) <= room(path) + MIB
    assert not leftovers(tmp_path / "out")


# Malicious senders


def hole_of(size: int) -> list[Message]:
    digest = FileDigest(size)
    digest.add_zeros(size)
    root = RootDigest()
    root.add(file(0, "a", size), digest.digest())
    return [FileEnd(0, digest.digest()), Finish(1, 1, size, 0, root.digest())]


async def test_holes_in_pieces_of_every_length_make_the_file(tmp_path: Path) -> None:
    size = 3 * MIB
    holes = [Hole(0, 0, 1), Hole(0, 1, MIB), Hole(0, MIB + 1, 2 * MIB - 1)]
    one = await attack(tmp_path / "out", [Page((file(0, "a", size),)), *holes, *hole_of(size)], [Goodbye()])
    assert isinstance(one.outcome, Report)
    assert (tmp_path / "out" / "a").read_bytes() == bytes(size)


@pytest.mark.parametrize(
    "messages",
    [
        [Hole(0, 0, 101)],
        [Hole(0, 0, 60), Hole(0, 60, 41)],
        [Hole(0, 1, 10)],
        [Data(0, 0, b"x" * 10), Hole(0, 5, 10)],
        [Hole(0, 0, 10), Data(0, 5, b"x" * 10)],
        [Hole(0, 0, 10), Hole(0, 0, 10)],
        [Hole(1, 0, 10)],
        [Hole(0, 0, 2**64 - 1)],
        [Hole(0, 2**64 - 1, 1)],
        [Hole(0, 0, 50), FileEnd(0, bytes(32))],
    ],
    ids=[
        "larger than the file", "all in all larger", "a gap", "over data", "under data", "twice", "another file",
        "without end", "without beginning", "not all",
    ],
)  # fmt: skip
async def test_a_hole_that_does_not_fit_is_refused_and_nothing_is_left(
    tmp_path: Path, messages: list[Message]
) -> None:
    one = await attack(tmp_path / "out", [Page((file(0, "a", 100),)), *messages])
    assert isinstance(one.outcome, PeerMisbehaved)
    assert os.listdir(tmp_path / "out") == []


async def test_a_hole_with_the_digest_of_something_else_is_refused(tmp_path: Path) -> None:
    one = await attack(tmp_path / "out", [Page((file(0, "a", 100),)), Hole(0, 0, 100), FileEnd(0, bytes(32))])
    assert isinstance(one.outcome, PeerMisbehaved)
    assert os.listdir(tmp_path / "out") == []
