"""Files that would keep a relay waiting: refused by their kind, or left to a thread that the relay leaves behind."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from p2p_copy.errors import CannotListen
from p2p_copy.relay.access.tokens import Tokens, line_for
from p2p_copy.relay.config import RelayConfig
from p2p_copy.relay.entry.certificates import Certificates
from p2p_copy.relay.file_thread import DoesNotAnswer, FileThread, read_regular
from p2p_copy.relay.log.abuse import AbuseCounter
from p2p_copy.relay.server import prepared
from p2p_copy.transport import limits
from tests.relay.entry.test_certificates import Files, lines
from tests.support.hanging import hanging
from tests.support.processes import QUICK, relay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import trustme


@pytest.fixture
def files(tmp_path: Path, authority: trustme.CA) -> Files:
    return Files(tmp_path, authority)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FILE_TIMEOUT", 0.2)


# What kind of file it is


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


def make_link_to_a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


NO_FILES = pytest.mark.parametrize(
    ("make", "words"),
    [
        (make_fifo, "tokens' is a pipe, a device or a socket"),
        (make_link_to_a_device, "tokens' is a pipe, a device or a socket"),
        (make_socket, "tokens' cannot be read"),
    ],
)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")
@NO_FILES
def test_other_files_than_regular_ones_are_refused_without_waiting(
    tmp_path: Path, make: Callable[[Path], None], words: str
) -> None:
    make(tmp_path / "tokens")
    with pytest.raises(CannotListen, match=words):
        Tokens(str(tmp_path / "tokens"))


def test_a_link_to_a_regular_file_is_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"contents")
    (tmp_path / "link").symlink_to("file")
    assert read_regular("tokens", str(tmp_path / "link"), 100) == b"contents"
    assert read_regular("tokens", str(tmp_path / "link"), 3) == b"con"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no FIFOs")
@pytest.mark.parametrize("which", ["certificate", "key"])
def test_a_certificate_or_key_is_a_regular_file(files: Files, which: str) -> None:
    path: Path = getattr(files, which)
    path.unlink()
    make_fifo(path)
    with pytest.raises(CannotListen, match=f"The {which} file '{path}' is a pipe"):
        Certificates(*files.names, AbuseCounter())


# A disk that does not answer


class Disk:
    """Answers when the test tells it to."""

    def __init__(self) -> None:
        self.works = threading.Event()
        self.asked = 0

    def read(self, answer: str) -> str:
        self.asked += 1
        self.works.wait()
        return answer


@pytest.fixture
def disk() -> Iterator[Disk]:
    disk = Disk()
    yield disk
    disk.works.set()


async def test_a_result_in_time_is_returned(disk: Disk) -> None:
    disk.works.set()
    assert await FileThread().run("This", disk.read, "contents") == "contents"


async def test_a_disk_that_does_not_answer_keeps_one_thread_at_most(disk: Disk, impatient: None) -> None:
    thread = FileThread()
    for _ in range(3):
        with pytest.raises(DoesNotAnswer, match=r"This could not be read in 0 s: the disk"):
            await thread.run("This", disk.read, "contents")
    assert disk.asked == 1
    disk.works.set()
    limits.FILE_TIMEOUT = QUICK  # type: ignore[misc]  # put back by the fixture
    assert await thread.run("This", disk.read, "contents") == "contents"


async def test_tokens_stay_when_their_disk_does_not_answer(tmp_path: Path, impatient: None) -> None:
    file = tmp_path / "tokens"
    write(file, line_for("ann", "a token"))
    tokens = Tokens(str(file))
    with hanging(file), pytest.raises(DoesNotAnswer, match="The tokens file could not be read"):
        await tokens.reload()
    assert tokens.account("a token") is not None
    await tokens.reload()


def write(file: Path, text: str) -> None:
    file.write_text(text)


async def test_a_certificate_stays_when_its_disk_does_not_answer(
    files: Files, impatient: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="p2p_copy.relay")
    abuse = AbuseCounter()
    certificates = Certificates(*files.names, abuse)
    context = certificates.context
    with hanging(files.certificate):
        assert not await certificates.reload()
        os.utime(files.key)
        for _ in range(3):
            await certificates.reload_if_changed()
    assert certificates.context is context
    assert abuse.counts["slow-files"] == 4
    why = [line.partition(": ")[2] for line in lines(caplog) if "not reloaded" in line]
    assert why == 2 * [
        "Certificate and key could not be read in 0 s: the disk or network mount does not answer."
    ], "once because it was asked for, and once for all changes"
    limits.FILE_TIMEOUT = QUICK  # type: ignore[misc]  # put back by the fixture
    await certificates.reload_if_changed()
    assert certificates.context is not context


async def test_a_relay_is_not_prepared_for_longer_than_that(files: Files, impatient: None) -> None:
    certificate, key = files.names
    config = RelayConfig("127.0.0.1", certfile=certificate, keyfile=key)
    with hanging(files.key), pytest.raises(DoesNotAnswer):
        await prepared(config)
    assert (await prepared(config)).certificates is not None


# Real processes


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
@pytest.mark.parametrize("which", ["tokens", "key"])
def test_a_process_whose_file_hangs_still_ends(tmp_path: Path, files: Files, which: str) -> None:
    """Without the thread only SIGKILL could end it."""
    (tmp_path / "tokens").write_text("")
    words = (
        "--certfile",
        files.names[0],
        "--keyfile",
        files.names[1],
        "--tokens-file",
        str(tmp_path / "tokens"),
    )
    with relay(*words) as (_, running), hanging(files.key if which == "key" else tmp_path / "tokens"):
        running.process.send_signal(signal.SIGHUP)
        assert running.process.stdout is not None
        while "reloaded" not in running.process.stdout.readline():
            pass  # the other file, which does not hang
        running.process.send_signal(signal.SIGTERM)
        assert running.wait(QUICK)[0] == 0
