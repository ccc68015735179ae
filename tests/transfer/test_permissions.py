"""Which permissions arrive: the owner's as they were sent, for others no more than the receiver's umask allows."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from p2p_copy.errors import UsageError
from p2p_copy.files import attributes
from p2p_copy.files.attributes import allowed_permissions, is_root
from p2p_copy.files.receipts.verify import Scope, verify
from p2p_copy.options import Preserve
from tests.cli.conftest import relay
from tests.cli.processes import finish, line_of, run, start
from tests.files.receipts.samples import parsed
from tests.support.transfers import copy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["relay"]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="permission bits mean nothing there")

SENT = {
    "tree": 0o777,
    "tree/inner": 0o775,
    "tree/empty": 0o666,
    "tree/script": 0o777,
    "tree/mine": 0o600,
    "tree/odd": 0o527,
    "tree/inner/large": 0o666,
}
"""Modes at the sender."""

UMASKS = {
    0o000: 0o777,
    0o002: 0o775,
    0o022: 0o755,
    0o027: 0o750,
    0o077: 0o700,
}
"""Umasks, and which bits each allows: always those of the owner."""

ALL_UMASKS = pytest.mark.parametrize("umask", UMASKS, ids=lambda umask: f"{umask:03o}")


@contextmanager
def umask_of(umask: int) -> Iterator[None]:
    before = os.umask(umask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    (tree / "inner").mkdir(parents=True)
    for name in ("empty", "script", "mine", "odd"):
        (tree / name).write_bytes(b"" if name == "empty" else b"#!/bin/sh\n")
    (tree / "inner" / "large").write_bytes(b"x" * 2_000_000)
    for path, mode in SENT.items():
        (tmp_path / path).chmod(mode)
    return tree


def given(out: Path) -> dict[str, int]:
    return {path: stat.S_IMODE((out / path).stat().st_mode) for path in SENT}


def less(allowed: int) -> dict[str, int]:
    return {path: mode & allowed for path, mode in SENT.items()}


@pytest.mark.fault(110, "umask")
@ALL_UMASKS
async def test_group_and_others_get_no_more_than_the_umask_allows(
    tmp_path: Path, tree: Path, umask: int
) -> None:
    (tmp_path / "out").mkdir()
    with umask_of(umask):
        both = await copy([tree], tmp_path / "out")
    assert both.reports[1].failures == 0
    assert given(tmp_path / "out") == less(UMASKS[umask])


@pytest.mark.fault(110, "umask")
@pytest.mark.parametrize("conflict", ["overwrite", "rename"])
async def test_so_do_what_replaces_something_and_what_gets_another_name(
    tmp_path: Path, tree: Path, conflict: str
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "script").write_text("old")
    with umask_of(0o027):
        await copy([tree / "script"], tmp_path / "out", receiving={"conflict": conflict})
    name = "script" if conflict == "overwrite" else "script (1)"
    assert stat.S_IMODE((tmp_path / "out" / name).stat().st_mode) == 0o750


async def test_a_receiver_that_asks_for_modes_gets_them_whatever_the_sender_preserves(
    tmp_path: Path, tree: Path
) -> None:
    (tmp_path / "out").mkdir()
    with umask_of(0o077):
        both = await copy([tree], tmp_path / "out", receiving={"preserve": "mode"})
    assert given(tmp_path / "out") == SENT
    assert not both.receiver.notices
    (tmp_path / "other").mkdir()
    with umask_of(0o077):
        both = await copy([tree], tmp_path / "other", sending={"preserve": "mode"})
    assert given(tmp_path / "other") == less(0o700)
    assert not both.sender.notices


@pytest.mark.skipif(not is_root(), reason="only root can give files to others")
async def test_a_receiver_that_asks_for_owners_gets_modes_too(tmp_path: Path, tree: Path) -> None:
    (tmp_path / "out").mkdir()
    options = {"preserve": "owner"}
    with umask_of(0o077):
        await copy([tree], tmp_path / "out", sending=options, receiving=options)
    assert given(tmp_path / "out") == SENT


@pytest.mark.skipif(is_root() or not hasattr(os, "geteuid"), reason="root may")
async def test_asking_for_owners_gives_no_modes_to_a_user_who_is_not_root(tmp_path: Path, tree: Path) -> None:
    both = await copy([tree], tmp_path / "out", receiving={"preserve": "owner"})
    assert isinstance(both.received, UsageError)


def differences(receipt: Path, out: Path) -> dict[str, str]:
    differ: dict[str, str] = {}
    verify(str(receipt), str(out), Scope(times=True, preserved=True, strict=True), differ.__setitem__)
    return differ


@pytest.mark.fault(110, "receipts")
@ALL_UMASKS
async def test_receipts_of_both_sides_verify_what_was_given(tmp_path: Path, tree: Path, umask: int) -> None:
    out = tmp_path / "out"
    out.mkdir()
    sender, receiver = tmp_path / "sender.json", tmp_path / "receiver.json"
    with umask_of(umask):
        await copy([tree], out, sending={"receipt": sender}, receiving={"receipt": receiver})
    assert differences(receiver, out) == {}
    assert differences(sender, out) == {}
    entries = parsed(receiver)["entries"]
    assert {each["path"]: int(each["given_mode"], 8) for each in entries} == less(UMASKS[umask])
    assert {each["path"]: int(each["mode"], 8) for each in entries} == SENT
    assert not any("given_mode" in each for each in parsed(sender)["entries"])


@pytest.mark.fault(110, "receipts")
async def test_a_receipt_shows_any_change_of_what_was_given(tmp_path: Path, tree: Path) -> None:
    out = tmp_path / "out"
    sender, receiver = tmp_path / "sender.json", tmp_path / "receiver.json"
    with umask_of(0o022):
        await copy([tree], out, sending={"receipt": sender}, receiving={"receipt": receiver})
    (out / "tree" / "script").chmod(0o777)  # as it was at the sender, and not as the receiver has set it
    assert differences(receiver, out) == {"tree/script": "has mode 0777 instead of 0755"}
    assert differences(sender, out) == {}
    (out / "tree" / "script").chmod(0o654)
    assert differences(receiver, out) == {"tree/script": "has mode 0654 instead of 0755"}
    assert differences(sender, out) == {"tree/script": "has mode 0654 instead of 0777"}
    (out / "tree" / "script").chmod(0o755)
    (out / "tree" / "mine").chmod(0o640)
    assert (
        differences(receiver, out)
        == differences(sender, out)
        == {"tree/mine": "has mode 0640 instead of 0600"}
    )


@pytest.mark.fault(110, "default access list")
@pytest.mark.skipif(sys.platform != "linux", reason="access lists are read and written as Linux has them")
async def test_a_directory_that_gives_more_by_its_access_list_does_not_give_it_to_what_is_received(
    tmp_path: Path, tree: Path
) -> None:
    if sys.platform == "linux":
        out = tmp_path / "out"
        out.mkdir()
        entries = ((0x01, 7), (0x04, 7), (0x20, 7))
        access = b"\2\0\0\0" + b"".join(
            tag.to_bytes(2, "little") + bits.to_bytes(2, "little") + b"\xff" * 4 for tag, bits in entries
        )
        try:
            os.setxattr(out, "system.posix_acl_default", access)
        except OSError:
            pytest.skip("no access lists here")
        with umask_of(0o022):
            (out / "plain").touch()
            assert stat.S_IMODE((out / "plain").stat().st_mode) == 0o666  # the kernel ignores the umask
            await copy([tree], out)
        assert given(out) == less(0o755)


@pytest.mark.fault(110, "umask")
def test_commands_hold_to_the_umask_of_the_process(relay: str, tmp_path: Path, tree: Path) -> None:
    for number, (words, allowed) in enumerate(((("--yes",), 0o750), (("--preserve", "mode"), 0o777))):
        sender = start("send", str(tree), "--server", relay)
        code = line_of(sender.stdout).strip().removeprefix("Code: ")
        out, receipt = tmp_path / f"out{number}", tmp_path / f"{number}.json"
        with umask_of(0o027):
            ends = run(
                "receive", code, "--server", relay, "--out", str(out), "--receipt", str(receipt), *words
            )
        assert (ends[0], finish(sender)[0]) == (0, 0)
        assert given(out) == less(allowed)
        assert run("verify", str(receipt), str(out), "--times")[0] == 0


# The umask of the process


@pytest.mark.parametrize("umask", [*UMASKS, 0o777], ids=lambda umask: f"{umask:03o}")
def test_the_umask_is_found_without_changing_it(umask: int) -> None:
    with umask_of(umask):
        assert allowed_permissions([]) == UMASKS.get(umask, 0o700)
        assert attributes._umask_by_trial() & 0o077 == umask & 0o077
        assert attributes._umask() == umask or sys.platform != "linux"
    assert allowed_permissions([Preserve.MODE]) == allowed_permissions([Preserve.OWNER]) == 0o777


def test_files_of_other_threads_are_not_opened_meanwhile(tmp_path: Path) -> None:
    stopped = threading.Event()
    seen = set()

    def create() -> None:
        number = 0
        while not stopped.is_set():
            number += 1
            path = tmp_path / str(number % 50)
            path.unlink(missing_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o666))
            seen.add(stat.S_IMODE(path.stat().st_mode))

    with umask_of(0o027):
        thread = threading.Thread(target=create)
        thread.start()
        for _ in range(100):
            attributes._umask()
            attributes._umask_by_trial()
        stopped.set()
        thread.join()
    assert seen == {0o640}


def test_with_an_unknown_umask_group_and_others_get_no_permissions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    assert attributes._umask_by_trial() == 0o077
