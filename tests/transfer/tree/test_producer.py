"""What a sender makes of a tree that changes, and of the receiver's answers, without a network."""

from __future__ import annotations

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from p2p_copy.errors import PeerMisbehaved
from p2p_copy.files import limits as files_limits
from p2p_copy.files.source.digest_cache import DigestCache
from p2p_copy.files.source.entry import SourceTrees
from p2p_copy.files.state.journal import Journal
from p2p_copy.files.target.target import Target
from p2p_copy.options import Conflict
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.protocol.manifest import Manifest
from p2p_copy.protocol.messages import (
    Accept,
    FileFail,
    Goodbye,
    Held,
    Holds,
    Message,
    Offer,
    Reason,
    Receipt,
    Reject,
    SameSegments,
    Unwanted,
)
from p2p_copy.transfer import limits
from p2p_copy.transfer.tree.answers import PageAnswers
from p2p_copy.transfer.tree.consumer import TreeConsumer
from p2p_copy.transfer.tree.producer import TreeProducer
from tests.files.helpers import open_handles
from tests.support.keys import both_sessions
from tests.support.trees import leftovers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from p2p_copy.files.source.entry import SourceEntry
    from p2p_copy.protocol.session import Session


class Transfer:
    """A sender and a receiver; each step moves one record."""

    def __init__(self, source: Path, out: Path) -> None:
        self.sender, self.receiver = both_sessions()
        self._say(self.sender, self.receiver, Offer("s"))
        accept = Accept("r", True)
        self._say(self.receiver, self.sender, accept)
        self.producer = TreeProducer(
            SourceTrees([str(source)]), self.sender, accept, DigestCache(Journal(None))
        )
        self.target = Target(str(out), conflict=Conflict.REFUSE)
        manifest = Manifest(portable=True, key=bytes(16))
        self.consumer = TreeConsumer(self.target, self.receiver, manifest, max_size=None)
        self.answers: list[Message] = []
        self._now = 0.0

    @staticmethod
    def _say(speaker: Session, listener: Session, message: Message) -> None:
        speaker.say(message)
        listener.hear(speaker.record())

    def step(self) -> bool:
        records = self.producer.next_records()
        if not records:
            return False
        self._now += 1
        answers = self.consumer.consume(records, self._now)
        if self.consumer.ending:
            answers += self.consumer.finish()
        for answer in answers:
            for message in self.sender.hear(answer):
                self.answers.append(message)
                if isinstance(message, Reject):
                    self.producer.hear(message)
        return True

    def finish(self) -> Receipt:
        while self.step():
            pass
        receipt = self.answers[-1]
        assert isinstance(receipt, Receipt)
        self.producer.check(receipt)
        self.report = self.producer.report(receipt, 0.0)
        self.problems = self.producer.take_problems()
        self._goodbye()
        self.target.close()
        return receipt

    def _goodbye(self) -> None:
        self.sender.say(Goodbye())
        self.consumer.consume([self.sender.record()], self._now)
        assert self.consumer.goodbye


def broken_disk(_fd: int, _size: int) -> bytes:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "large").write_bytes(os.urandom(8 * limits.CHUNK))
    return folder


@pytest.mark.fault(71, "grows", "shrinks", "rewritten", "replaced", "deleted", "unreadable")
@pytest.mark.parametrize(
    "how", ["grows", "shrinks", "is rewritten", "is replaced", "vanishes", "cannot be read"]
)
def test_a_file_that_changes_in_the_middle_is_reported_and_removed(
    source: Path, out: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = source / "large"
    transfer = Transfer(source, out)
    for _ in range(4):
        assert transfer.step()
    match how:
        case "grows":
            with large.open("ab") as file:
                file.write(b"more")
        case "shrinks":
            os.truncate(large, 5 * limits.CHUNK)
        case "is rewritten":
            with large.open("r+b") as file:
                file.write(b"other")
            os.utime(large, ns=(1, 1))
        case "is replaced":
            (source / "new").write_bytes(bytes(8 * limits.CHUNK))
            os.replace(source / "new", large)
        case "vanishes":
            large.unlink()
        case "cannot be read":
            monkeypatch.setattr(os, "read", broken_disk)
    receipt = transfer.finish()
    if how in ("is replaced", "vanishes"):
        # The open file is still the one that was announced, whole and unchanged: it arrives.
        assert (receipt.files, transfer.report.failures) == (1, 0)
    else:
        assert (receipt.files, transfer.report.failures, transfer.consumer.outcomes.failures) == (0, 1, 1)
        why = Reason.UNREADABLE if how == "cannot be read" else Reason.CHANGED
        assert [reason for _, reason in transfer.problems] == [why]
        assert [reason for _, reason in transfer.consumer.outcomes.take_problems()] == [why]
        assert os.listdir(out / "source") == []
    assert not leftovers(out)


@pytest.mark.fault(71, "deleted")
def test_a_file_that_vanishes_between_its_page_and_its_turn_is_reported(source: Path, out: Path) -> None:
    for number in range(20):
        (source / f"small{number}").write_text("x")
    transfer = Transfer(source, out)
    transfer.step()
    gone = 0
    for path in source.iterdir():
        path.unlink()
        gone += 1
    receipt = transfer.finish()
    assert receipt.files + transfer.report.failures == gone
    assert transfer.report.failures == transfer.consumer.outcomes.failures > 0
    assert {reason for _, reason in transfer.consumer.outcomes.take_problems()} == {Reason.VANISHED}
    assert len(os.listdir(out / "source")) == receipt.files


def test_a_rejected_file_is_not_sent_to_its_end(source: Path, out: Path) -> None:
    (out / "source").mkdir(parents=True)
    (out / "source" / "large").write_text("old")
    transfer = Transfer(source, out)
    records = 0
    while transfer.step():
        records += 1
    assert records <= 4
    assert (out / "source" / "large").read_text() == "old"
    transfer.target.close()


def test_entries_of_a_rejected_directory_are_not_named(tmp_path: Path, out: Path) -> None:
    source = tmp_path / "source"
    for number in range(600):
        (source / "d").mkdir(parents=True, exist_ok=True)
        (source / "d" / f"{number}").write_bytes(bytes(2000))
    out.mkdir()
    (out / "source").write_text("in the way")
    transfer = Transfer(source, out)
    receipt = transfer.finish()
    assert receipt.files == 0
    assert (receipt.rejected, transfer.consumer.outcomes.failures) == (1, 1)
    assert transfer.producer._sent_size < 600 * 2000


def test_small_files_share_records(tmp_path: Path, out: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(1000):
        (source / f"{number}").write_bytes(b"x" * 100)
    transfer = Transfer(source, out)
    records = 0
    while transfer.step():
        records += 1
    assert records <= 4
    transfer.target.close()


def test_a_thousand_rejections_at_once_fit_into_as_many_records_as_they_need(
    tmp_path: Path, out: Path
) -> None:
    long = Path("n" * 200) / ("m" * 200) / ("o" * 200)
    for place in (tmp_path / "source" / long, out / "source" / long):
        place.mkdir(parents=True)
        for number in range(4000):
            (place / f"{number}").touch()
    transfer = Transfer(tmp_path / "source", out)
    receipt = transfer.finish()
    assert (receipt.files, receipt.rejected) == (0, 4000)


def test_an_entry_that_was_never_named_cannot_be_rejected(source: Path, out: Path) -> None:
    transfer = Transfer(source, out)
    with pytest.raises(PeerMisbehaved):
        transfer.producer.hear(Reject(2**31, Reason.EXISTS, ""))
    transfer.target.close()


def test_rejections_that_change_nothing_any_more_are_forgotten(tmp_path: Path, out: Path) -> None:
    for place in (tmp_path / "source", out / "source"):
        place.mkdir(parents=True)
        for number in range(2000):
            (place / f"{number}").touch()
    transfer = Transfer(tmp_path / "source", out)
    transfer.finish()
    assert len(transfer.producer._rejections._indices) <= limits.SENDER_PAGE_ENTRIES + 1


def test_close_closes_files_and_directories(tmp_path: Path, out: Path) -> None:
    inner = tmp_path / "source" / "inner"
    inner.mkdir(parents=True)
    for number in range(2 * limits.SENDER_PAGE_ENTRIES):
        (inner / f"{number}").write_bytes(bytes(limits.CHUNK // limits.SENDER_PAGE_ENTRIES))
    transfer = Transfer(tmp_path / "source", out)
    before = open_handles()
    transfer.step()
    transfer.target.close()
    transfer.producer.close()
    assert len(os.listdir("/proc/self/fd")) < before  # without those of the target, too
    assert transfer.producer.next_records() == []


def test_pages_without_an_answer_leave_nothing_in_memory(tmp_path: Path, out: Path) -> None:
    (tmp_path / "source").mkdir()
    for number in range(2 * limits.SENDER_PAGE_ENTRIES):
        (tmp_path / "source" / f"{number}").touch()
    transfer = Transfer(tmp_path / "source", out)
    transfer.finish()
    assert not transfer.producer._omissions._pages


def test_too_many_entries_are_reported_and_the_first_ones_arrive(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol_limits, "MAX_ENTRIES", 11)
    (tmp_path / "source").mkdir()
    for number in range(20):
        (tmp_path / "source" / f"{number}").write_text("x")
    transfer = Transfer(tmp_path / "source", out)
    receipt = transfer.finish()
    assert receipt.files == 10
    assert transfer.report.failures == transfer.consumer.outcomes.failures == 1
    assert [reason for _, reason in transfer.consumer.outcomes.take_problems()] == [Reason.TOO_MUCH]


@pytest.mark.parametrize(
    ("size", "seconds", "chunk"),
    [
        (1_000_000, 5.0, limits.LEAST_CHUNK),  # 200 kB/s: three chunks a second
        (10, 60.0, limits.LEAST_CHUNK),
        (1_000_000, 1.0, 4 * limits.LEAST_CHUNK),
        (100_000_000, 1.0, limits.MOST_CHUNK),
        (1, 0.0, limits.MOST_CHUNK),
    ],
)
def test_the_length_of_chunks_depends_on_the_pace_of_the_link(
    source: Path, out: Path, size: int, seconds: float, chunk: int
) -> None:
    (source / "large").write_bytes(os.urandom(5 * limits.MOST_CHUNK))
    transfer = Transfer(source, out)
    assert transfer.step()  # the page
    transfer.producer.keep_pace(size, seconds)
    sizes = [len(*transfer.producer.next_records()) for _ in range(4)]
    # The first two chunks are already under way.
    assert {round(each, -3) for each in sizes[2:]} == {round(chunk, -3)}


def test_an_answer_before_the_producer_is_stuck_counts(source: Path) -> None:
    """Otherwise the sender would wait for ever for an answer that it has."""
    producer, _ = asking_producer([source], DigestCache(Journal(None)))
    assert producer.next_records(1), "the page"
    producer.hear(Holds(producer._pages.named, ()))
    assert producer.next_records(1), "what it names"
    assert not producer.stuck


class BusyCache(DigestCache):
    """A cache that calls `meanwhile` once, while the thread makes a record."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        super().__init__(Journal(None))
        self._meanwhile: Callable[[], None] | None = meanwhile

    def set_digest(self, found: SourceEntry, digest: bytes) -> None:
        meanwhile, self._meanwhile = self._meanwhile, None
        if meanwhile is not None:
            meanwhile()


def asking_producer(paths: Sequence[Path], cache: DigestCache) -> tuple[TreeProducer, Session]:
    """Return the producer for a receiver that answers pages, and the receiver's session."""
    sender, receiver = both_sessions()
    accept = Accept("r", True, True)
    Transfer._say(sender, receiver, Offer("s"))
    Transfer._say(receiver, sender, accept)
    return TreeProducer(SourceTrees([str(path) for path in paths]), sender, accept, cache), receiver


@pytest.mark.parametrize(("files", "committed"), [(20, False), (50, True)])
def test_a_sender_commits_less_often_than_a_receiver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: int, committed: bool
) -> None:
    monkeypatch.setattr(files_limits, "JOURNAL_BYTES", 5_000)
    monkeypatch.setattr(files_limits, "JOURNAL_INTERVAL", 1e9)
    for number in range(files):
        (tmp_path / f"{number}").write_bytes(os.urandom(1_000))
    journal = Journal(str(tmp_path / "journal"))
    sender, receiver = both_sessions()
    Transfer._say(sender, receiver, Offer("s"))
    Transfer._say(receiver, sender, Accept("r", True))
    paths = [str(tmp_path / f"{number}") for number in range(files)]
    producer = TreeProducer(SourceTrees(paths), sender, Accept("r", True), DigestCache(journal))
    while producer.next_records():
        pass
    assert (tmp_path / "journal").exists() == committed
    producer.close()
    journal.close()


def two_pages(folder: Path) -> Path:
    """Fill a folder with small files of one and a half pages, and of three records."""
    for number in range(limits.SENDER_PAGE_ENTRIES * 3 // 2):
        (folder / f"{number}").write_bytes(bytes(range(250)) * 8)
    return folder


def test_an_answer_that_arrives_while_records_are_made_is_acted_upon_before_the_next_one(
    tmp_path: Path,
) -> None:
    def reject_the_last_file() -> None:
        assert producer.hear(Reject(producer._pages.named - 1, Reason.NOT_WRITABLE, "")), "it does not wait"
        seen.append(producer._rejections.failures)

    seen: list[int] = []
    source = two_pages(tmp_path)
    sender, receiver = both_sessions()
    accept = Accept("r", True)
    Transfer._say(sender, receiver, Offer("s"))
    Transfer._say(receiver, sender, accept)
    producer = TreeProducer(SourceTrees([str(source)]), sender, accept, BusyCache(reject_the_last_file))
    said = [message for record in producer.next_records(100) for message in receiver.hear(record)]
    assert seen == [0], "nothing changes while a record is made"
    assert [message.reason for message in said if isinstance(message, FileFail)] == [Reason.NOT_WANTED]
    assert producer.ended


def test_answers_are_acted_upon_in_their_order(tmp_path: Path) -> None:
    """In another order, what the receiver does not want would count as a problem."""

    def answer() -> None:
        assert producer.hear(Unwanted(0))
        assert producer.hear(Holds(producer._pages.named, ()))
        assert not producer._omissions.unwanted, "nothing changes while a record is made"

    (tmp_path / "s").mkdir()
    source = two_pages(tmp_path / "s")
    producer, _ = asking_producer([source, tmp_path / "none"], BusyCache(answer))
    assert len(producer.next_records(100)) == 1
    assert producer.stuck
    producer.hear(Holds(limits.SENDER_PAGE_ENTRIES, ()))
    producer.next_records(100)
    assert producer.ended
    assert producer._omissions.unwanted == 1
    assert not producer.take_problems()


def test_a_receiver_that_sends_more_answers_than_the_thread_takes_has_to_wait(tmp_path: Path) -> None:
    """The queue is bounded, whatever the receiver sends while the thread waits for a disk."""

    def flood() -> None:
        end = 2
        while producer.hear(Holds(end, (Held(end - 1, 0, bytes(32)),))):
            end += 1
        heard.append(end - 1)

    heard: list[int] = []
    producer, _ = asking_producer([two_pages(tmp_path)], BusyCache(flood))
    producer.next_records()
    producer.hear(Holds(1, ()))
    assert producer.hear(Holds(limits.SENDER_PAGE_ENTRIES, ()))
    with pytest.raises(PeerMisbehaved):
        producer.next_records(100)
    assert heard == [protocol_limits.MAX_RECORD_MESSAGES // 2]


def test_the_event_loop_waits_for_the_thread_only_to_catch_up(tmp_path: Path) -> None:
    at_work, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        at_work.set()
        assert go_on.wait(10)

    producer, _ = asking_producer([two_pages(tmp_path)], BusyCache(wait))
    producer.next_records()
    producer.hear(Holds(limits.SENDER_PAGE_ENTRIES, ()))
    with ThreadPoolExecutor(2) as threads:
        making = threads.submit(producer.next_records)
        assert at_work.wait(10)
        assert producer.hear(Reject(1, Reason.NOT_WRITABLE, ""))
        catching_up = threads.submit(producer.catch_up)
        assert not catching_up.done()
        go_on.set()
        assert making.result(10)
        catching_up.result(10)
    assert producer._rejections.failures == 1


def test_many_answers_about_one_file_take_no_longer_each_than_one() -> None:
    """Each is added to those that are known, which are not copied: the event loop waits for it."""
    answers = PageAnswers(expected=True)
    answers.ask(0, 3)
    answers.add_same_segments(SameSegments(0, 0, (True,), whole=False))
    known = answers._same_segments[0]
    answers.add_same_segments(SameSegments(0, 1, (False, True), whole=True))
    assert answers._same_segments[0] is known
    assert answers.take_same_segments(0) == (bytes((1, 0, 1)), True)
    assert answers.take_same_segments(0) == (b"", False)
