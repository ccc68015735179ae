"""Real commands where something is odd: files, names, disks, terminals, and who else can look."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from p2p_copy import errors
from tests.support.processes import CODE, QUICK, Running, environment, receiver, relay, sender
from tests.support.trees import leftovers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

pytestmark = pytest.mark.once

PYTHON_M = (sys.executable, "-m", "p2p_copy")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with relay() as (url, _):
        yield url


def finished(words: Sequence[str], **variables: str) -> tuple[int, str]:
    """Run a command to its end; return its exit code and what it said to people."""
    done = subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=QUICK,
        env=environment(**variables),
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


@pytest.fixture
def private_mounts() -> tuple[str, ...]:
    """Words before `sh -c` that let it mount what no other process sees."""
    unshare = shutil.which("unshare")
    words = (unshare or "", "--mount", "--propagation", "private")
    if unshare is None or subprocess.run([*words, "true"], capture_output=True, check=False).returncode:
        pytest.skip("mounting something privately needs root, and Linux")
    return words


# Sources


def not_delivered(said: str, name: str) -> bool:
    """Return whether the summary names this path, alone or among those with the same reason."""
    return f"Not delivered: {name} " in said or f"\n  {name}\n" in said


@pytest.mark.fault(72, "fifo", "device", "socket", "dangling link", "looping link")
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("fifo")
    Path("dangling").symlink_to("nowhere")
    Path("loop").symlink_to("loop")
    odd = ["fifo", "/dev/zero", "socket", "dangling", "loop"]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        code, said = finished([*PYTHON_M, "send", *odd, "--server", "ws://127.0.0.1:1"])
    assert code == errors.NothingToSend.exit_code
    assert len(said.splitlines()) == 1


@pytest.mark.fault(72, "fifo", "device", "socket", "dangling link", "looping link")
@pytest.mark.fault(71, "unreadable", "exit code")
@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="this system has no /proc")
def test_what_cannot_be_sent_is_named_on_both_sides_and_the_rest_arrives(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among it a file that is longer than it says, and one whose reading is an input/output error."""
    monkeypatch.chdir(tmp_path)
    Path("good").write_text("good")
    Path("tree").mkdir()
    os.mkfifo("tree/fifo")
    Path("tree/dangling").symlink_to("../nowhere")
    Path("tree/loop").symlink_to("loop")
    odd = ["tree", "/dev/zero", "tree/socket", "/proc/self/status", "/proc/self/mem", "gone"]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("tree/socket")
        sides = sender(url, "good", *odd, options=("--symlinks", "copy")), receiver(url, tmp_path / "out")
        ends = [side.wait() for side in sides]
    for code, _, said in ends:
        assert code == errors.PartialTransfer.exit_code
        for name in ("tree/fifo", "tree/dangling", "tree/loop", "tree/socket", "zero", "socket", "gone"):
            assert not_delivered(said, name), said
        assert re.search("Not delivered: .*status changed while it was being sent\n", said)
        assert re.search("Not delivered: .*mem cannot be read at the sender\n", said)
    assert sorted(path.name for path in (tmp_path / "out").rglob("*")) == ["good", "tree"]


@pytest.mark.fault(72, "mount loop")
def test_a_tree_that_is_mounted_in_itself_ends(tmp_path: Path, private_mounts: tuple[str, ...]) -> None:
    (tmp_path / "tree" / "inner" / "again").mkdir(parents=True)
    program = (
        "from p2p_copy.files.source.entry import SourceTrees; from p2p_copy.files.source.walk import walk\n"
        f"for one in walk(SourceTrees([{str(tmp_path / 'tree')!r}])):\n"
        "    print(getattr(one, 'inner_path', None) or (one.path, one.reason.name))"
    )
    mount = 'mount --bind "$1" "$1/inner/again" && shift && exec "$@"'
    done = subprocess.run(
        [*private_mounts, "sh", "-c", mount, "sh", str(tmp_path / "tree"), sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=QUICK,
        env=environment(PYTHONPATH=os.pathsep.join(sys.path)),
        check=False,
    )
    assert done.stdout.splitlines() == ["tree", "tree/inner", "('tree/inner/again', 'TOO_DEEP')"], done.stderr


# Names


ODD = {
    b"\xff\xfe": r"\xff\xfe",
    b"new\nline": r"new\nline",
    b"\x1b[2Jwiped": r"\x1b[2Jwiped",
    "\u202etxt.exe".encode(): r"\u202etxt.exe",
}


@pytest.mark.fault(65, "prompt and errors", "words of the other side")
@pytest.mark.fault(74, "not UTF-8", "newline")
@pytest.mark.fault(80, "encoding")
def test_odd_names_are_shown_escaped_on_both_sides_whatever_the_terminal_can_show(
    url: str, tmp_path: Path
) -> None:
    tree = tmp_path / "größe"
    tree.mkdir()
    (tree / "good").write_text("good")
    for name in ODD:
        try:
            (tree / os.fsdecode(name)).touch()
        except OSError:
            pytest.skip("this file system takes no such names")
    sides = (
        sender(url, tree, LC_ALL="C", PYTHONIOENCODING="ascii"),
        receiver(url, tmp_path / "out", options=("--names", "system"), LC_ALL="C", PYTHONIOENCODING="ascii"),
    )
    for code, out, said in [side.wait() for side in sides]:
        assert code == errors.PartialTransfer.exit_code, said
        assert all(line.isprintable() for line in (out + said).splitlines())
        for shown in ODD.values():
            assert not_delivered(said, rf"gr\xf6\xdfe/{shown}"), said
        assert "ach has a name that" in said
    assert [path.name for path in (tmp_path / "out" / "größe").iterdir()] == ["good"]


# Who else can look


@pytest.mark.fault(75, "arguments", "process list")
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="this system has no /proc")
def test_no_secret_is_in_the_list_of_processes_unless_the_user_put_it_there(url: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "code").write_text(CODE)
    made = Running("send", str(tmp_path / "file"), "--server", url)
    assert made.process.stdout is not None
    code = made.process.stdout.readline().split()[1]
    from_file = Running(
        "receive", "--server", url, "--code-file", str(tmp_path / "code"), "--out", str(tmp_path)
    )
    from_environment = sender(url, tmp_path / "file")
    for running in (made, from_file, from_environment):
        running.wait_for("[Ww]aiting|[Cc]onnected")
        listed = Path(f"/proc/{running.process.pid}/cmdline").read_bytes().decode()
        assert "send" in listed or "receive" in listed
        assert code not in listed
        assert CODE not in listed
    assert "argument" not in from_environment.wait()[2]
    argued = Running("receive", code, "--server", url, "--out", str(tmp_path / "out"))
    assert "argument" not in argued.wait()[2]  # it is what the sender says that one should type
    assert "argument" not in made.wait()[2]
    from_file.wait()


# Disks


@pytest.mark.fault(64, "read-only", "unwritable parent")
def test_a_disk_that_is_read_only_is_found_out_before_the_relay_is_called(
    tmp_path: Path, private_mounts: tuple[str, ...]
) -> None:
    (tmp_path / "disk" / "inner").mkdir(parents=True)
    (tmp_path / "disk" / "old").write_text("old")
    mount = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && shift && exec "$@"'
    for out in ("", "inner", "new"):
        receive = ("receive", "--server", "ws://127.0.0.1:1", "--out", str(tmp_path / "disk" / out))
        words = [*private_mounts, "sh", "-c", mount, "sh", str(tmp_path / "disk"), *PYTHON_M, *receive]
        code, said = finished(words, P2P_COPY_CODE=CODE)
        assert code == errors.OutputNotWritable.exit_code, said
        assert len(said.splitlines()) == 1
    assert sorted(path.name for path in (tmp_path / "disk").iterdir()) == ["inner", "old"]


# Terminals


@pytest.mark.fault(80, "closed")
def test_without_output_or_terminal_a_copy_is_made_all_the_same(url: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    variables = environment(P2P_COPY_CODE=CODE, P2P_COPY_SERVER=url)
    closed = ("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh")
    sides = [
        subprocess.Popen([*closed, *PYTHON_M, *words], env=variables)
        for words in (("send", str(tmp_path / "file")), ("receive", "--out", str(tmp_path / "out")))
    ]
    assert [side.wait(60) for side in sides] == [0, 0]
    assert (tmp_path / "out" / "file").read_text() == "x"
    assert not leftovers(tmp_path)
