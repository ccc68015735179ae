"""Transfers of which one side, or both, want only a part."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
import trio

from p2p_copy.errors import PeerMisbehaved, TooMuch, UsageError
from p2p_copy.files.source.digest_cache import DigestCache
from p2p_copy.files.source.entry import SourceTrees
from p2p_copy.files.state.journal import Journal
from p2p_copy.files.target.target import Target
from p2p_copy.protocol.digest import RootDigest
from p2p_copy.protocol.messages import Accept, Offer, Reason, Receipt, Unwanted
from p2p_copy.transfer import limits
from p2p_copy.transfer.reasons import SENTENCES
from p2p_copy.transfer.tree import producer
from p2p_copy.transfer.tree.producer import TreeProducer
from p2p_copy.units import MIB
from tests.files.receipts.samples import differences, parsed
from tests.support.keys import both_sessions
from tests.support.lossy_relay import lossy_relay
from tests.support.transfers import CODE, Told, copy, receive, send
from tests.support.trees import leftovers, snapshot
from tests.support.two_sides import SEGMENT, TwoSides, half_way

if TYPE_CHECKING:
    from pathlib import Path

    from p2p_copy.files.source.entry import SourceEntry


FILES = ("a.py", "a.txt", "src/b.py", "src/deep/er/c.py", "build/d.py", "docs/e.txt", "docs/more/f.txt")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "tree"
    for name in FILES:
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(name)
    (top / "empty").mkdir()
    return top


def names(out: Path) -> set[str]:
    return {path.relative_to(out / "tree").as_posix() for path in (out / "tree").rglob("*")}


PY = {"a.py", "src", "src/b.py", "src/deep", "src/deep/er", "src/deep/er/c.py"}


@pytest.mark.parametrize(
    ("sending", "receiving", "arrives", "excluded"),
    [
        ({"only": ["*.py"], "exclude": ["build"]}, {}, PY, (4, 0)),
        ({}, {"only": ["*.py"], "exclude": ["build"]}, PY, (4, 4)),
        ({"exclude": ["build"]}, {"only": ["*.py"]}, PY, (4, 3)),
        ({"only": ["*.py"]}, {"exclude": ["build/", "deep"]}, {"a.py", "src", "src/b.py"}, (5, 2)),
        ({}, {"only": ["tree/docs/more/"]}, {"docs", "docs/more", "docs/more/f.txt"}, (6, 6)),
        (
            {"exclude": ["*.txt"]},
            {"exclude": ["src", "build"]},
            {"a.py", "docs", "docs/more", "empty"},
            (5, 2),
        ),
    ],
)
async def test_what_is_left_out_is_no_failure_and_is_counted(
    tmp_path: Path,
    tree: Path,
    sending: dict[str, Any],
    receiving: dict[str, Any],
    arrives: set[str],
    excluded: tuple[int, int],
) -> None:
    both = await copy([tree], tmp_path / "out", sending=sending, receiving=receiving)
    sent, received = both.reports
    assert names(tmp_path / "out") == arrives
    assert (sent.failures, sent.skipped, received.failures, received.skipped) == (0, 0, 0, 0)
    assert (sent.excluded, received.excluded) == excluded
    assert (sent.files, sent.size, sent.root) == (received.files, received.size, received.root)
    assert sent.files == sum("." in name for name in arrives)
    for told in (both.sender, both.receiver):
        assert (told.problems, told.left) == ({}, [])


async def test_all_of_it_may_be_left_out(tmp_path: Path, tree: Path) -> None:
    for sending, receiving in (({"exclude": ["tree"]}, {}), ({}, {"only": ["nothing"]})):
        both = await copy([tree], tmp_path / "out", sending=sending, receiving=receiving)
        assert both.reports[1].files == 0
        assert os.listdir(tmp_path / "out") == []


async def test_directories_keep_their_attributes_though_they_are_made_late(
    tmp_path: Path, tree: Path
) -> None:
    for folder in (tree, tree / "src", tree / "src" / "deep"):
        folder.chmod(0o750)
        os.utime(folder, ns=(10**18, 10**18))
    for name in ("a.txt", "docs/e.txt", "docs/more/f.txt", "build/d.py"):
        (tree / name).unlink()
    for name in ("docs/more", "docs", "build", "empty"):
        (tree / name).rmdir()
    os.utime(tree, ns=(10**18, 10**18))
    await copy([tree], tmp_path / "out", receiving={"only": ["*.py"]})
    assert snapshot(tmp_path / "out") == {
        name: seen for name, seen in snapshot(tmp_path).items() if name[:4] == "tree"
    }


async def test_nothing_is_read_or_sent_of_what_the_receiver_does_not_want(
    tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / "large.bin").write_bytes(os.urandom(8_000_000))
    read: list[str] = []

    def noted(name: str) -> Any:
        really = getattr(producer, name)

        def look(found: SourceEntry) -> Any:
            read.append(found.inner_path)
            return really(found)

        return look

    for name in ("open_source", "read_whole"):
        monkeypatch.setattr(producer, name, noted(name))
    async with lossy_relay() as it:
        both = await copy([tree], tmp_path / "out", relay=it.address, receiving={"only": ["*.py"]})
    assert both.reports[1].files == 4
    assert sorted(read) == ["tree/a.py", "tree/build/d.py", "tree/src/b.py", "tree/src/deep/er/c.py"]
    assert it.upstream < 100_000


async def test_a_directory_that_has_no_place_is_refused_when_it_is_needed(tmp_path: Path, tree: Path) -> None:
    (tmp_path / "out" / "tree").mkdir(parents=True)
    (tmp_path / "out" / "tree" / "src").write_text("in the way")
    (tmp_path / "out" / "tree" / "docs").write_text("in nobody's way")
    both = await copy([tree], tmp_path / "out", receiving={"only": ["*.py"], "exclude": ["build"]})
    sent, received = both.reports
    assert list(both.receiver.problems) == ["tree/src"]
    assert (sent.failures, received.failures) == (1, 1)
    assert (tmp_path / "out" / "tree" / "a.py").exists()


async def test_what_is_not_wanted_needs_no_room(
    tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / "large.bin").write_bytes(bytes(MIB))
    (tree / "build" / "large.bin").write_bytes(bytes(MIB))
    refused = await copy([tree], tmp_path / "one", receiving={"max_size": 1000})
    assert isinstance(refused.received, TooMuch)
    monkeypatch.setattr(Target, "free_bytes", lambda target: 1000)
    both = await copy(
        [tree], tmp_path / "two", receiving={"max_size": 1000, "exclude": ["large.bin", "build"]}
    )
    assert both.reports[1].files == 6


async def test_receipts_hold_of_what_was_left_out(tmp_path: Path, tree: Path) -> None:
    at = {"sender": tmp_path / "sent.json", "receiver": tmp_path / "received.json"}
    both = await copy(
        [tree],
        tmp_path / "out",
        sending={"receipt": str(at["sender"]), "exclude": ["build"]},
        receiving={"receipt": str(at["receiver"]), "only": ["*.py"]},
    )
    assert both.reports[0].files == 3
    verdict, differ = differences(at["receiver"], tmp_path / "out")
    assert (differ, verdict.files) == ({}, 3)


@pytest.mark.usefixtures("small_segments")
async def test_a_transfer_that_goes_on_leaves_the_same_out(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    for number in range(12):
        (tree / "sub" / f"{number:02}.dat").write_bytes(os.urandom(600_000))
        (tree / "sub" / f"{number:02}.tmp").write_bytes(os.urandom(600_000))
        (tree / f"{number:02}.log").write_bytes(os.urandom(600_000))
    (tree / "large").write_bytes(os.urandom(4 * SEGMENT))
    async with lossy_relay() as it:
        again = TwoSides(tmp_path, it, tree)
        again.options = {"sender": {"exclude": ["*.log"]}, "receiver": {"exclude": ["*.tmp"]}}
        await half_way(again, 4_000_000)
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(again.start, "receiver")
                await again.start("sender")
    wanted = {name: seen for name, seen in snapshot(tree).items() if not name.endswith((".log", ".tmp"))}
    assert snapshot(tmp_path / "out" / "tree") == wanted
    assert it.upstream < 18_000_000, "12 MB of 26, and what was in the buffers"
    assert not leftovers(tmp_path / "out")
    assert not again.remembered()


async def test_a_bad_pattern_is_reported_before_the_relay_is_called(tmp_path: Path, tree: Path) -> None:
    told = Told()
    common: dict[str, Any] = {"relay": "ws://127.0.0.1:1", "code": CODE, "observer": told, "only": ["a["]}
    with pytest.raises(UsageError):
        await send([str(tree)], **common)
    with pytest.raises(UsageError):
        await receive(str(tmp_path / "out"), **common)
    assert told.states == []
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
@pytest.mark.parametrize("pages", ["one page", "many pages"])
@pytest.mark.parametrize("role", ["sending", "receiving"])
async def test_what_cannot_be_sent_is_no_failure_where_it_is_left_out(
    tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch, role: str, pages: str
) -> None:
    if pages == "many pages":
        monkeypatch.setattr(limits, "SENDER_PAGE_ENTRIES", 1)
    for name in ("pipe", "build/pipe", "docs/pipe"):
        os.mkfifo(tree / name)
    (tree / "bad\nname").mkdir()
    options: dict[str, Any] = {role: {"exclude": ["build/", "/tree/pipe", "bad*/"]}}
    both = await copy([tree], tmp_path / "out", **options)
    sent, received = both.reports
    assert (sent.failures, received.failures) == (1, 1)
    sentence = SENTENCES[Reason.SPECIAL]
    assert both.receiver.problems == both.sender.problems == {"tree/docs/pipe": sentence}
    assert "a.py" in names(tmp_path / "out")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
async def test_no_more_problems_wait_for_an_answer_than_may(
    tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "UNDECIDED", 2)
    for number in range(5):
        os.mkfifo(tree / f"pipe {number}")
    both = await copy([tree], tmp_path / "out", receiving={"exclude": ["*.txt"]})
    assert both.reports[0].failures == both.reports[1].failures == 5
    assert both.sender.problems == both.receiver.problems
    assert len(both.sender.problems) == 5


def test_only_what_was_omitted_can_be_unwanted_and_once(tmp_path: Path) -> None:
    sender, receiver = both_sessions()
    accept = Accept("r", portable_names=True, holds=True)
    sender.say(Offer("s"))
    receiver.hear(sender.record())
    receiver.say(accept)
    sender.hear(receiver.record())
    paths = [str(tmp_path / "none"), str(tmp_path / "nothing")]
    producer = TreeProducer(SourceTrees(paths), sender, accept, DigestCache(Journal(None)))
    with pytest.raises(PeerMisbehaved):
        producer.hear(Unwanted(0))
    producer.next_records(1)
    producer.hear(Unwanted(1))
    for number in (0, 1, 2):
        with pytest.raises(PeerMisbehaved):
            producer.hear(Unwanted(number))
    root = RootDigest().digest()
    receipt = Receipt(0, 0, 0, 0, root)
    producer.check(receipt)
    assert producer.take_problems() == [("none", Reason.VANISHED)]
    assert producer.report(receipt, 0.0).failures == 1


@pytest.mark.parametrize("pages", ["one page", "many pages"])
async def test_both_receipts_tell_which_directories_were_made(
    tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch, pages: str
) -> None:
    if pages == "many pages":
        monkeypatch.setattr(limits, "SENDER_PAGE_ENTRIES", 1)
    both = await copy(
        [tree],
        tmp_path / "out",
        sending={"receipt": str(tmp_path / "sent")},
        receiving={"receipt": str(tmp_path / "received"), "only": ["c.py"]},
    )
    assert both.reports[0].skipped == both.reports[1].skipped == 0
    for name in ("sent", "received"):
        verdict, told = differences(tmp_path / name, tmp_path / "out", strict=True)
        assert (told, verdict.files) == ({}, 1)
        entries = parsed(tmp_path / name)["entries"]
        there = {entry["path"] for entry in entries if entry.get("delivered", True)}
        assert there == {"tree", *(f"tree/{path}" for path in names(tmp_path / "out"))}
