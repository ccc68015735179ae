"""Three real processes: transfers that work, and what each side says and does in case of a failure."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from typing import TYPE_CHECKING

import pytest

from p2p_copy import errors
from p2p_copy.transfer import limits as transfer_limits
from p2p_copy.transport import limits as transport_limits
from tests.contrib.programs import free_port
from tests.support.certificates import Certificates
from tests.support.processes import QUICK, Running, both, receiver, relay, sender
from tests.support.trees import leftovers, make_tree, snapshot, unfinished_size

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def one_sentence(said: str) -> str:
    """Return the one error message of a process."""
    sentences = [line for line in said.splitlines() if line.startswith("p2p-copy: ")]
    assert len(sentences) == 1, said
    return sentences[0]


# What works


def test_a_tree_through_ws(tmp_path: Path) -> None:
    tree = make_tree(tmp_path)
    with relay() as (url, _):
        (sent, _, _), (received, _, _) = both(url, tree, tmp_path / "out")
    assert (sent, received) == (0, 0)
    assert snapshot(tmp_path / "out" / "a tree") == snapshot(tree)


@pytest.mark.parametrize("how", ["option", "SSL_CERT_FILE"])
def test_a_tree_through_wss(tmp_path: Path, certificates: Certificates, how: str) -> None:
    tree = make_tree(tmp_path)
    options = ("--ca-file", certificates.authority) if how == "option" else ()
    variables = {"SSL_CERT_FILE": certificates.authority} if how != "option" else {}
    with relay(*certificates.options) as (url, _):
        assert url.startswith("wss://")
        one = sender(url, tree, options=options, **variables)
        other = receiver(url, tmp_path / "out", options=options, **variables)
        assert one.wait()[0] == other.wait()[0] == 0
    assert snapshot(tmp_path / "out" / "a tree") == snapshot(tree)


def test_the_standard_library(tmp_path: Path) -> None:
    library = tmp_path / "lib"
    shutil.copytree(
        sysconfig.get_path("stdlib"),
        library,
        symlinks=True,
        ignore=shutil.ignore_patterns("site-packages", "__pycache__"),
    )
    with relay() as (url, _):
        (sent, _, said), (received, _, _) = both(url, library, tmp_path / "out")
    assert (sent, received) == (0, 0), said
    assert snapshot(tmp_path / "out" / "lib") == snapshot(library)


def test_the_receiver_may_come_first(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with relay() as (url, _):
        other = receiver(url, tmp_path / "out")
        other.wait_for("[Ww]aiting")
        one = sender(url, tmp_path / "file")
        assert one.wait()[0] == other.wait()[0] == 0


def test_a_relay_serves_one_transfer_after_the_other(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with relay() as (url, _):
        for number in range(3):
            (sent, _, _), (received, _, _) = both(url, tmp_path / "file", tmp_path / f"out{number}")
            assert (sent, received) == (0, 0)


def test_a_partial_transfer_is_reported_on_both_sides(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("new")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "file").write_text("old")
    with relay() as (url, _):
        (sent, _, said), (received, _, heard) = both(url, tmp_path / "file", tmp_path / "out")
    assert sent == received == errors.PartialTransfer.exit_code
    assert "file" in said
    assert "file" in heard
    assert (tmp_path / "out" / "file").read_text() == "old"


# What does not work


@pytest.mark.fault(43, "wrong secret")
def test_wrong_code(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with relay() as (url, _):
        one = sender(url, tmp_path / "file", code="lab7-the right phrase")
        other = receiver(url, tmp_path / "out", code="lab7-the wrong phrase")
        for process in (one, other):
            code, out, said = process.wait(QUICK)
            assert code == errors.WrongCode.exit_code
            assert "phrase" not in one_sentence(said) + out
    assert os.listdir(tmp_path / "out") == []


@pytest.fixture
def other_server() -> Iterator[str]:
    """An HTTP server that is no relay."""
    server = subprocess.Popen(
        [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert server.stdout is not None
    port = server.stdout.readline().split("port ")[1].split()[0]
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.communicate()


def test_wrong_relay(tmp_path: Path, other_server: str) -> None:
    (tmp_path / "file").write_text("x")
    for process in (
        sender(f"ws://{other_server}", tmp_path / "file"),
        receiver(f"ws://{other_server}", tmp_path / "out"),
    ):
        code, _, said = process.wait(QUICK)
        assert code == errors.NotARelay.exit_code
        one_sentence(said)


def test_a_server_that_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"ws://127.0.0.1:{silent.getsockname()[1]}"
        code, _, said = sender(url, tmp_path / "file").wait(QUICK + 10)
    assert code == errors.RelayUnreachable.exit_code
    one_sentence(said)


def test_relay_not_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    port = free_port()
    for process in (
        sender(f"ws://127.0.0.1:{port}", tmp_path / "file"),
        receiver(f"wss://127.0.0.1:{port}", tmp_path / "out"),
    ):
        code, _, said = process.wait(QUICK)
        assert code == errors.RelayUnreachable.exit_code
        assert f"127.0.0.1:{port}" in one_sentence(said)


@pytest.mark.fault(77, "name")
def test_a_name_that_does_not_exist(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    code, _, said = sender("wss://relay.invalid", tmp_path / "file").wait(QUICK)
    assert code == errors.RelayUnreachable.exit_code
    assert "relay.invalid" in one_sentence(said)


def test_certificate_not_trusted(tmp_path: Path, certificates: Certificates) -> None:
    (tmp_path / "file").write_text("x")
    with relay(*certificates.options) as (url, _):
        for process in (sender(url, tmp_path / "file"), receiver(url, tmp_path / "out")):
            code, _, said = process.wait(QUICK)
            assert code == errors.CertificateNotTrusted.exit_code
            one_sentence(said)


def test_ws_to_a_tls_port_and_the_reverse(tmp_path: Path, certificates: Certificates) -> None:
    (tmp_path / "file").write_text("x")
    with relay(*certificates.options) as (url, _):
        code, _, said = sender(url.replace("wss", "ws"), tmp_path / "file").wait(QUICK)
        assert code == errors.RelayExpectsTLS.exit_code
        assert "wss://" in one_sentence(said)
    with relay() as (url, _):
        code, _, said = receiver(url.replace("ws", "wss"), tmp_path / "out").wait(QUICK)
        assert code == errors.RelayWithoutTLS.exit_code
        assert "ws://" in one_sentence(said)


SLOW = ("--no-tls", "--rate", "5M")
"""Options of a relay through which `endless` takes longer than any test."""


def endless(tmp_path: Path) -> Path:
    """Return a file whose transfer takes longer than any test."""
    (tmp_path / "large").write_bytes(os.urandom(1_000_000) * 100)
    return tmp_path / "large"


IMPATIENT = ("--patience", "0")
"""Options of a side that does not reconnect."""


def started(out: Path) -> None:
    """Return once the receiver is writing; the empty file with which it tries whether it can does not count."""
    while not unfinished_size(out):
        threading.Event().wait(0.02)


@pytest.mark.slow  # it is stopped for longer than it takes to report a stall
def test_a_side_that_was_stopped_for_a_while_reports_no_stall(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(os.urandom(4_000_000))
    with relay("--no-tls", "--rate", "256K") as (url, _):
        sides = sender(url, tmp_path / "file"), receiver(url, tmp_path / "out")
        sides[1].wait_for("Transferring")
        for side in sides:
            side.process.send_signal(signal.SIGSTOP)
        time.sleep(transfer_limits.STALL + transport_limits.NOT_RUN)
        for side in sides:
            side.process.send_signal(signal.SIGCONT)
        for side in sides:
            code, _, said = side.wait()
            assert code == 0, said
            assert "Nothing moves" not in said


@pytest.mark.parametrize("killed", ["sender", "receiver"])
def test_a_side_that_is_killed(tmp_path: Path, killed: str) -> None:
    with relay(*SLOW) as (url, _):
        one = sender(url, endless(tmp_path), options=IMPATIENT)
        other = receiver(url, tmp_path / "out", options=IMPATIENT)
        started(tmp_path / "out")
        victim, survivor = (one, other) if killed == "sender" else (other, one)
        victim.kill()
        code, _, said = survivor.wait(QUICK)
    assert code == errors.PeerLost.exit_code
    one_sentence(said)
    assert not (tmp_path / "out" / "large").exists()


def test_relay_killed(tmp_path: Path) -> None:
    with relay(*SLOW) as (url, server):
        one = sender(url, endless(tmp_path), options=IMPATIENT)
        other = receiver(url, tmp_path / "out", options=IMPATIENT)
        started(tmp_path / "out")
        server.kill()
        for process in (one, other):
            code, _, said = process.wait(QUICK)
            assert code == errors.RelayLost.exit_code
            one_sentence(said)
    assert not (tmp_path / "out" / "large").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_after_the_last_word_changes_no_exit_code(tmp_path: Path, number: signal.Signals) -> None:
    source = tmp_path / "file"
    source.write_bytes(b"words")
    with relay() as (address, _):
        send = Running("send", str(source), "--server", address, P2P_COPY_CODE="lab7-a long passphrase")
        receive = Running(
            "receive",
            "--server",
            address,
            "--out",
            str(tmp_path / "out"),
            P2P_COPY_CODE="lab7-a long passphrase",
        )
        for side, word in ((send, "Sent 1 file"), (receive, "Received 1 file")):
            side.wait_for(word)
            side.process.send_signal(number)
        for side in (send, receive):
            assert side.wait()[0] == 0


@pytest.mark.fault(70, "SIGINT", "SIGTERM")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_either_side_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    with relay(*SLOW) as (url, _):
        for victim in (0, 1):
            out = tmp_path / f"out {victim}"
            processes = (
                sender(url, endless(tmp_path), code=f"lab{victim}-a passphrase", options=IMPATIENT),
                receiver(url, out, code=f"lab{victim}-a passphrase", options=IMPATIENT),
            )
            started(out)
            processes[victim].process.send_signal(number)
            code, _, said = processes[victim].wait(QUICK)
            assert code == 128 + number, said
            one_sentence(said)
            code, _, said = processes[1 - victim].wait(QUICK)
            assert code == errors.PeerLost.exit_code
            one_sentence(said)
            assert [name for name in os.listdir(out) if not name.endswith(".part")] == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.fault(64, "full", "part is kept")
def test_disk_full(tmp_path: Path, small_disk: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(16 * 2**20))
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(16):
        (tree / f"{number}").write_bytes(os.urandom(2**20))
    for source in (tmp_path / "large", tree):
        with relay() as (url, _):
            (sent, _, said), (received, _, heard) = both(url, source, small_disk)
        assert sent == errors.PeerFailed.exit_code
        assert received == errors.NoSpace.exit_code
        one_sentence(said)
        one_sentence(heard)
        for part in leftovers(small_disk):  # of the large file; those of the tree are too small to be kept
            (small_disk / part).unlink()
        for path, seen in snapshot(small_disk).items():
            assert seen[0] == "directory" or seen[3] == (tmp_path / path).read_bytes()


def test_output_not_writable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with relay() as (url, _):
        for out in (tmp_path / "file", tmp_path / "file" / "below", "/proc/nowhere"):
            code, _, said = receiver(url, out).wait(QUICK)  # type: ignore[arg-type]
            assert code == errors.OutputNotWritable.exit_code
            one_sentence(said)


def test_nothing_to_send(tmp_path: Path) -> None:
    code, _, said = sender("ws://127.0.0.1:1", tmp_path / "missing").wait(QUICK)
    assert code == errors.NothingToSend.exit_code
    one_sentence(said)


def test_the_other_side_never_connects(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with relay() as (url, _):
        code, _, said = sender(url, tmp_path / "file", options=("--wait", "0.5")).wait(QUICK)
    assert code == errors.PeerTimeout.exit_code
    one_sentence(said)


@pytest.mark.fault(78, "same machine")
def test_a_taken_place_is_refused_and_those_inside_notice_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with relay() as (url, _):
        first = sender(url, tmp_path / "file")
        first.wait_for("[Ww]aiting")
        elsewhere = ("--state-dir", str(tmp_path / "another memory"))
        code, _, said = sender(url, tmp_path / "file", options=elsewhere).wait(QUICK)
        assert code == errors.RelayRefused.exit_code
        one_sentence(said)
        other = receiver(url, tmp_path / "out")
        assert first.wait()[0] == other.wait()[0] == 0


def test_a_relay_that_cannot_listen_says_so(tmp_path: Path, certificates: Certificates) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = Running("run-relay-server", "127.0.0.1", str(taken.getsockname()[1]), "--no-tls")
        assert busy.wait(QUICK)[0] == errors.CannotListen.exit_code
    missing = Running(
        "run-relay-server",
        "127.0.0.1",
        "0",
        "--certfile",
        str(tmp_path / "no"),
        "--keyfile",
        certificates.key,
    )
    assert missing.wait(QUICK)[0] == errors.CannotListen.exit_code
    neither = Running("run-relay-server", "127.0.0.1", "0")
    code, _, said = neither.wait(QUICK)
    assert code == errors.UsageError.exit_code
    assert "--certfile" in said
    assert "--no-tls" in said
