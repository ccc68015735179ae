"""`p2p-copy verify` in real processes."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.cli.processes import finish, run, start
from tests.files.receipts.samples import parsed, write_lines, write_receipt

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def receipt(tree: Path, tmp_path: Path) -> Path:
    """A receipt of the tree in its parent directory."""
    write_receipt(tmp_path / "receipt.json", tree.parent)
    return tmp_path / "receipt.json"


def test_a_tree_that_is_as_it_was_is_success(tree: Path, receipt: Path) -> None:
    root = parsed(receipt)["root"][:16]
    for words in ((), ("--times", "--strict")):
        code, out, err = run("verify", str(receipt), str(tree.parent), *words)
        assert (code, out, err) == (0, "", f"Everything is unchanged: 3 files, 2.0 KiB, digest {root}.\n")
    assert run("verify", str(receipt), str(tree.parent), "--quiet") == (0, "", "")


def test_it_holds_after_a_copy_and_for_a_link_to_the_directory(
    tree: Path, receipt: Path, tmp_path: Path
) -> None:
    shutil.copytree(tree, tmp_path / "copy" / "tree", symlinks=True)
    (tmp_path / "link").symlink_to("copy")
    assert run("verify", str(receipt), str(tmp_path / "link"), "--quiet", "--strict") == (0, "", "")


@pytest.mark.parametrize("quiet", [(), ("--quiet",)])
def test_every_difference_is_a_line_and_the_exit_code_says_so(
    tree: Path, receipt: Path, quiet: tuple[str, ...]
) -> None:
    (tree / "größe").write_bytes(b"\0\xff" * 999 + b"\0\0")
    (tree / "deep" / "er" / "file").unlink()
    (tree / "new").touch()
    code, out, err = run("verify", str(receipt), str(tree.parent), *quiet, env={"PYTHONIOENCODING": "utf-8"})
    assert (code, out) == (21, "")
    *lines, last = err.splitlines()
    assert sorted(lines) == [
        "Differs: tree/deep/er/file is missing",
        "Differs: tree/größe has other contents",
    ]
    assert last == ("p2p-copy: The directory differs from the receipt (see above).")
    assert (
        "Differs: tree/new is not in the receipt"
        in run("verify", "--strict", str(receipt), str(tree.parent))[2]
    )


def test_times_are_compared_if_asked(tree: Path, receipt: Path) -> None:
    os.utime(tree / "größe", (0, 0))
    assert run("verify", str(receipt), str(tree.parent))[0] == 0
    code, _, err = run("verify", "--times", str(receipt), str(tree.parent))
    assert code == 21
    assert "has the time 1970-01-01T00:00:00.000000000Z instead of" in err


def test_many_differences_are_counted_and_a_changed_receipt_is_always_reported(
    tree: Path, receipt: Path
) -> None:
    for number in range(30):
        (tree / f"new\x1b{number}").touch()
    document = parsed(receipt)
    document["root"] = "00" * 32
    write_lines(receipt, document)
    code, out, err = run("verify", "--strict", str(receipt), str(tree.parent))
    assert (code, out) == (21, "")
    assert err.count("Differs: tree/new\\x1b") == 20
    assert "\x1b" not in err
    assert err.splitlines()[20:22] == [
        "The receipt itself was changed: its entries do not make up its root digest.",
        "... and 10 more differences.",
    ]


def test_undelivered_entries_are_counted(tree: Path, tmp_path: Path) -> None:
    write_receipt(tmp_path / "receipt", tree.parent, failures=2, skipped=1)
    code, _, err = run("verify", str(tmp_path / "receipt"), str(tree.parent), "--quiet")
    assert code == 0
    assert err == "Not compared, because the transfer did not deliver them: 2 failed, 1 skipped.\n"


@pytest.mark.parametrize(
    "content", [b"", b"no", b"{}", b"\xff\0", b'{"format": "p2p-copy receipt 1"}\n{"path": "../x"}']
)
def test_a_file_that_is_no_receipt_is_reported(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "receipt\x1b").write_bytes(content)
    code, out, err = run("verify", str(tmp_path / "receipt\x1b"), str(tmp_path))
    assert (code, out) == (2, "")
    assert "is not a receipt, or it is damaged" in err
    assert "\x1b" not in err


def test_a_missing_receipt_or_directory_is_reported(receipt: Path, tmp_path: Path) -> None:
    code, _, err = run("verify", str(tmp_path / "none"), str(tmp_path))
    assert (code, "No such file or directory" in err) == (2, True)
    code, _, err = run("verify", str(receipt), str(tmp_path / "none"))
    assert (code, "No such file or directory" in err) == (2, True)
    assert run("verify", str(receipt))[0] == 2


# Receipts of real transfers

CODE = "lab7-a long passphrase"


def test_what_was_transferred_with_receipts_is_verified_with_either(
    relay: str, tree: Path, tmp_path: Path
) -> None:
    out, env = tmp_path / "out", {"P2P_COPY_SERVER": relay, "P2P_COPY_CODE": CODE}
    receipts = [str(tmp_path / "sent.json"), str(tmp_path / "received.json")]
    sender = start("send", str(tree), "--receipt", receipts[0], env=env)
    received, _, err = run("receive", "--out", str(out), "--receipt", "received.json", env=env, cwd=tmp_path)
    assert (finish(sender)[0], received) == (0, 0), err
    for receipt in receipts:
        code, _, err = run("verify", receipt, str(out), "--times", "--strict")
        assert code == 0, err
        assert err.startswith("Everything is unchanged: 3 files, 2.0 KiB, digest ")
    with (out / "tree" / "größe").open("r+b") as file:
        file.seek(1000)
        file.write(b"!")
    for receipt in receipts:
        code, _, err = run("verify", receipt, str(out), env={"PYTHONIOENCODING": "utf-8"})
        assert code == 21
        assert "Differs: tree/größe has other contents" in err


@pytest.mark.parametrize("words", [("send", "tree"), ("receive", "--out", "out")])
def test_a_receipt_that_exists_is_refused_before_connecting(
    tree: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    (tmp_path / "receipt").write_text("mine")
    env = {"P2P_COPY_SERVER": "ws://127.0.0.1:1", "P2P_COPY_CODE": CODE}
    code, out, err = run(*words, "--receipt", str(tmp_path / "receipt"), env=env, cwd=tree.parent)
    assert (code, out) == (2, "")
    assert "exists already. Choose another name for the receipt." in err
    assert "Connecting" not in err
    assert (tmp_path / "receipt").read_text() == "mine"


def test_a_transfer_that_is_resumed_writes_the_receipt_it_was_to_write(
    relay: str, tree: Path, tmp_path: Path
) -> None:
    env = {"P2P_COPY_SERVER": relay, "P2P_COPY_STATE_DIR": str(tmp_path / "states")}
    sender = start("send", str(tree), "--receipt", str(tmp_path / "sent.json"), env=env)
    assert sender.stdout is not None
    code = sender.stdout.readline().strip().removeprefix("Code: ")
    sender.terminate()
    assert finish(sender)[0] == 143
    assert not (tmp_path / "sent.json").exists()
    number = run("resume", env=env)[1].splitlines()[1].split()[0]
    sender = start("resume", number, env=env)
    received, _, err = run("receive", code, "--out", str(tmp_path / "out"), env=env)
    assert (finish(sender)[0], received) == (0, 0), err
    assert run("verify", str(tmp_path / "sent.json"), str(tmp_path / "out"))[0] == 0
