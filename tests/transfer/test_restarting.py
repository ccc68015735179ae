"""Transfers whose sides are stopped or killed and started again, and whose files change meanwhile."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
import trio
from blake3 import blake3

from p2p_copy.errors import WrongCode
from p2p_copy.files import limits as files_limits
from p2p_copy.files.directory import Directory
from p2p_copy.files.state import journal
from p2p_copy.files.state.facts import Facts
from p2p_copy.files.state.store import States
from p2p_copy.files.temporary import has_tag, temporary_name
from p2p_copy.observer import Report
from p2p_copy.options import Conflict
from p2p_copy.protocol.code import Code
from p2p_copy.transfer import limits
from p2p_copy.transfer.resumption import Resumption
from tests.support.lossy_relay import lossy_relay
from tests.support.transfers import CODE, copy, receive
from tests.support.trees import leftovers, make_tree, snapshot
from tests.support.two_sides import ID, SEGMENT, TwoSides, half_way, to_the_end

if TYPE_CHECKING:
    from pathlib import Path


pytestmark = pytest.mark.usefixtures("small_segments")


@pytest.mark.parametrize("role", ["sender", "receiver"])
async def test_a_side_that_was_stopped_is_started_again_and_goes_on(
    tmp_path: Path, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Else all may have arrived before it is told that half has.
    monkeypatch.setattr(limits, "OBSERVER_INTERVAL", 0)
    data = os.urandom(12_000_000)
    (tmp_path / "file").write_bytes(data)
    other = {"sender": "receiver", "receiver": "sender"}[role]
    async with lossy_relay() as it:
        again = TwoSides(tmp_path, it, tmp_path / "file")
        receiver = again.told["receiver"]
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(again.start, other)
                await again.until_arrived(role, 4_000_000)
                await again.until_arrived(role, 8_000_000)
                await again.start(role)
    assert (tmp_path / "out" / "file").read_bytes() == data
    assert receiver.saved > 8_000_000 - 2 * SEGMENT, "what had arrived was not sent again"
    assert not leftovers(tmp_path / "out")
    assert not again.remembered()


async def test_a_source_that_changed_meanwhile_starts_over_and_the_rest_does_not(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(20):
        (tree / f"{number:02}").write_bytes(os.urandom(600_000))
    async with lossy_relay() as it:
        again = TwoSides(tmp_path, it, tree)
        await half_way(again, 5_000_000)
        with trio.fail_after(30):
            there = sorted((tmp_path / "out" / "tree").glob("??"))
            assert there
            changed = tree / there[0].name
            changed.write_bytes(os.urandom(600_001))
            so_far = it.upstream
            async with trio.open_nursery() as nursery:
                nursery.start_soon(again.start, "receiver")
                await again.start("sender")
    assert snapshot(tmp_path / "out" / "tree") == snapshot(tree)
    # Not all that are there need be in the journals: what came last may be sent again.
    assert it.upstream - so_far < 12_000_000 - 600_000 * (len(there) // 2)
    assert not leftovers(tmp_path / "out")


def overwrite(path: Path, at: int, *, silently: bool = False) -> None:
    """Change a byte of a file; `silently` means that its time stays."""
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(at)
        old = file.read(1)
        file.seek(at)
        file.write(bytes((old[0] ^ 1,)))
    after = status.st_mtime_ns if silently else status.st_mtime_ns + 10**10
    os.utime(path, ns=(status.st_atime_ns, after))


def the_part(out: Path) -> Path:
    (name,) = leftovers(out)
    return out / name


@pytest.mark.fault(68, "part edited", "part a link", "part of another user")
@pytest.mark.parametrize("how", ["late", "first", "shorter", "gone", "link", "another user's", "reverify"])
async def test_a_part_that_is_not_what_it_was_is_noticed(tmp_path: Path, how: str) -> None:
    data = os.urandom(24_000_000)
    (tmp_path / "file").write_bytes(data)
    async with lossy_relay() as it:
        again = TwoSides(tmp_path, it, tmp_path / "file")
        await half_way(again, 7_000_000)
        part = the_part(again.out)
        match how:
            case "late":
                overwrite(part, 2 * SEGMENT + 5)
            case "first":
                overwrite(part, 5, silently=True)
            case "shorter":
                os.truncate(part, SEGMENT + 7)
            case "gone":
                part.unlink()
            case "link":
                part.unlink()
                part.symlink_to(tmp_path / "file")
            case "another user's":
                size = part.stat().st_size
                part.unlink()
                part.write_bytes(os.urandom(size))
                if os.geteuid() == 0:
                    os.chown(part, 65534, 65534)
            case "reverify":
                overwrite(part, 2 * SEGMENT + 5, silently=True)
                again.options["receiver"]["reverify"] = True
        await to_the_end(again)
    assert (tmp_path / "out" / "file").read_bytes() == (tmp_path / "file").read_bytes() == data
    assert not leftovers(again.out)
    assert not again.remembered()


@pytest.mark.fault(68, "state edited")
@pytest.mark.parametrize("role", ["sender", "receiver"])
@pytest.mark.parametrize("how", ["garbage", "gone"])
async def test_a_journal_that_is_lost_costs_work_and_nothing_else(
    tmp_path: Path, role: str, how: str
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "small").write_bytes(b"x")
    (tree / "large").write_bytes(os.urandom(24_000_000))
    async with lossy_relay() as it:
        again = TwoSides(tmp_path, it, tree)
        await half_way(again, 7_000_000)
        file = tmp_path / role / f"{ID}.journal"
        assert file.exists()
        if how == "gone":
            file.unlink()
        else:
            file.write_bytes(os.urandom(5_000))
        # Otherwise its own files, which it does not remember, would stand in its way.
        again.options["receiver"]["conflict"] = Conflict.OVERWRITE
        so_far = it.upstream
        await to_the_end(again)
    for part in leftovers(again.out) if role == "receiver" else ():
        (again.out / "tree" / part).unlink()  # it is not known whose it was, so it was not touched
    assert snapshot(again.out / "tree") == snapshot(tree)
    if role == "sender":
        assert it.upstream - so_far < 20_000_000, "it has read again what it had sent, and not sent it again"


async def test_after_a_reboot_only_what_was_flushed_is_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(40):
        (tree / f"{number:02}").write_bytes(os.urandom(600_000))
    async with lossy_relay() as it:
        again = TwoSides(tmp_path, it, tree)
        await half_way(again, 7_000_000)
        there = sorted((again.out / "tree").glob("??"))
        overwrite(there[0], 5, silently=True)  # as if it had never reached the disk
        monkeypatch.setattr(journal, "boot_id", lambda: "another boot")
        await to_the_end(again)
    assert snapshot(again.out / "tree") == snapshot(tree)


async def test_a_file_that_was_delivered_and_removed_is_sent_again_and_one_that_was_edited_is_kept(
    tmp_path: Path,
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(40):
        (tree / f"{number:02}").write_bytes(os.urandom(600_000))
    async with lossy_relay() as it:
        again = TwoSides(tmp_path, it, tree)
        await half_way(again, 7_000_000)
        removed, edited, *_ = sorted((again.out / "tree").glob("??"))
        removed.unlink()
        edited.write_text("mine")
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(again.start, "receiver")
                report = await again.start("sender")
    assert removed.read_bytes() == (tree / removed.name).read_bytes()
    assert edited.read_text() == "mine", "nothing that another program has written is replaced unasked"
    assert report.failures == 1


async def test_what_the_sender_has_removed_leaves_no_part_behind(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "large").write_bytes(os.urandom(24_000_000))
    async with lossy_relay() as it:
        again = TwoSides(tmp_path, it, tree)
        await half_way(again, 7_000_000)
        assert leftovers(again.out)
        (tree / "large").unlink()
        (tree / "other").write_bytes(b"other")
        await to_the_end(again)
    assert os.listdir(again.out / "tree") == ["other"]


async def test_a_directory_gets_its_mode_and_time_even_if_it_was_made_before(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "inner").mkdir(parents=True)
    for number in range(40):
        (tree / "inner" / f"{number:02}").write_bytes(os.urandom(600_000))
    (tree / "inner").chmod(0o750)
    os.utime(tree / "inner", ns=(1, 2))
    os.utime(tree, ns=(1, 2))
    async with lossy_relay() as it:
        again = TwoSides(tmp_path, it, tree)
        await half_way(again, 7_000_000)
        await to_the_end(again)
    assert snapshot(again.out / "tree") == snapshot(tree)
    assert (again.out / "tree").stat().st_mtime_ns == 2


@pytest.mark.fault(44, "second guess")
async def test_a_wrong_guess_ends_the_code_and_not_the_transfer(tmp_path: Path) -> None:
    """The code's room is still tried, since the other side may have lost its state; the code is tried only once."""
    (tmp_path / "file").write_bytes(os.urandom(6_000_000))
    async with lossy_relay() as it:
        again = TwoSides(tmp_path, it, tmp_path / "file")
        await half_way(again, 2_500_000)
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(again.start, "sender")
                for code in (Code(CODE.room, "a wrong guess"), CODE):
                    with pytest.raises(WrongCode):
                        await receive(str(tmp_path / "thief"), relay=it.address, code=code, patience=0)
                await again.start("receiver")
    (notice,) = again.told["sender"].notices
    assert "used up" in notice
    assert not (tmp_path / "thief" / "file").exists()
    assert (again.out / "file").read_bytes() == (tmp_path / "file").read_bytes()


@pytest.mark.parametrize("role", ["sender", "receiver"])
async def test_a_side_that_is_restarted_when_all_was_done_says_so_and_waits_only_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    monkeypatch.setattr(limits, "RESTART_LINGER", 0.4)
    monkeypatch.setattr(limits, "GOODBYE_LINGER", 0.4)
    (tmp_path / "file").write_bytes(b"there")
    done = Report(files=1, size=5, failures=0, skipped=0, root="00" * 32, seconds=1.0)
    async with lossy_relay() as it:
        again = TwoSides(tmp_path, it, tmp_path / "file")
        again.options[role]["patience"] = 1000.0
        with again.state(role) as state:
            state.facts = Facts(tickets=(bytes(32),), claim="22" * 16, sure=True, over=done)
            state.save()
        with trio.fail_after(30):
            assert await again.start(role) == done
    (notice,) = again.told[role].notices
    assert "an earlier run" in notice
    assert "may be stopped" in notice
    assert not again.remembered()


async def test_what_is_put_into_the_output_directory_is_known_after_a_kill_at_any_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name leads to what is on the disk, and not only to what this process remembers."""
    (tmp_path / "file").write_bytes(b"words")
    states = States(str(tmp_path / "state"))
    known: list[bool] = []
    close_new, try_out = Directory.close_new, Directory.try_out

    def look(name: str) -> None:
        (there,) = states.all()
        tag = blake3(there.facts.claim.encode()).hexdigest(length=4)
        known.append(has_tag(name, tag))

    def look_and_close(self: Directory, name: str) -> None:
        look(name)
        close_new(self, name)

    def look_and_try(self: Directory, name: str) -> os.stat_result:
        look(name)
        return try_out(self, name)

    monkeypatch.setattr(Directory, "close_new", look_and_close)
    monkeypatch.setattr(Directory, "try_out", look_and_try)
    both = await copy([tmp_path / "file"], tmp_path / "out", receiving={"state": states.create(ID, Facts())})
    assert both.reports[1].files == 1
    assert len(known) > 1, "what shows that it can be written to, and what marks it"
    assert all(known)


@pytest.mark.parametrize("interval", [0.01, 1e9])
async def test_a_receiver_that_was_killed_knows_its_own_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interval: float
) -> None:
    """Directories keep modes and times, what exists already is no conflict, and no temporary file is left."""
    monkeypatch.setattr(files_limits, "JOURNAL_INTERVAL", interval)
    monkeypatch.setattr(files_limits, "JOURNAL_BYTES", 1e12)
    tree = make_tree(tmp_path)
    for number in range(600):
        (tree / "d" / f"{number}").write_bytes(os.urandom(1_000 if number % 10 else 0))
        (tree / "d" / f"to {number}").symlink_to(f"{number}")
    (tree / "z").mkdir(mode=0o750)
    (tree / "z" / "large").write_bytes(os.urandom(5_000_000))
    os.utime(tree / "z", ns=(10**18, 10**18))
    os.utime(tree / "d", ns=(10**18, 10**18))
    async with lossy_relay() as it:
        again = TwoSides(tmp_path, it, tree)
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(again.start, "sender")
                for more in (900_000, 700_000, 2_000_000):
                    await again.kill("receiver", more)
                tag = again.tag("receiver")
                (again.out / temporary_name(tag)).write_bytes(b"half")
                (again.out / tree.name / "d" / temporary_name(tag)).write_bytes(b"half")
                report = await again.start("receiver")
    assert report.failures == 0
    assert not again.told["receiver"].problems
    assert snapshot(again.out) == {tree.name: snapshot(tree.parent)[tree.name]} | {
        f"{tree.name}/{name}": seen for name, seen in snapshot(tree).items()
    }
    assert not again.remembered()


async def test_files_that_others_have_put_there_meanwhile_are_not_taken_for_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(40):
        (tree / f"{number:02}").write_bytes(os.urandom(300_000))
    async with lossy_relay() as it:
        again = TwoSides(tmp_path, it, tree)
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(again.start, "sender")
                await again.kill("receiver", 3_000_000)
                last = max((path.stat().st_ctime for path in (again.out / "tree").iterdir()), default=0.0)
                with closing(journal.Journal(str(tmp_path / "receiver" / f"{ID}.journal"))) as noted:
                    late = max(last - noted.committed_at, 0.0) + 0.02
                # Otherwise this test would have to wait for its end.
                monkeypatch.setattr(files_limits, "JOURNAL_LATE", late)
                await trio.sleep(0.1)
                (name, *_) = {path.name for path in tree.iterdir()} - set(os.listdir(again.out / "tree"))
                theirs = again.out / "tree" / name
                theirs.write_bytes(os.urandom(300_000))
                os.utime(theirs, ns=(0, (tree / name).stat().st_mtime_ns))
                kept = theirs.read_bytes()
                strange = again.out / "tree" / temporary_name()
                strange.write_bytes(b"of another transfer")
                report = await again.start("receiver")
    assert report.failures == 1
    assert list(again.told["receiver"].problems) == [f"tree/{name}"]
    assert theirs.read_bytes() == kept
    assert strange.exists()


@pytest.mark.parametrize("role", ["sender", "receiver"])
async def test_a_side_that_is_stopped_when_all_is_there_still_has_to_tell_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    (tmp_path / "file").write_bytes(data := os.urandom(100_000))
    other = {"sender": "receiver", "receiver": "sender"}[role]
    finish = Resumption.finish
    over = trio.Event()

    async def hesitate(memory: Resumption, report: Report, linger: float) -> None:
        await finish(memory, report, linger)
        if not over.is_set() and memory.tag == tag:
            over.set()
            await trio.sleep_forever()

    monkeypatch.setattr(Resumption, "finish", hesitate)
    async with lossy_relay() as it:
        again = TwoSides(tmp_path, it, tmp_path / "file")
        state = again.state(role)
        state.facts = Facts(claim="c1" * 16)
        state.save()
        state.close()
        tag = again.tag(role)
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(again.start, other)
                await again.until(role, over.is_set)
                assert again.remembered().count(ID) >= 1
                report = await again.start(role)
    assert (report.files, report.failures) == (1, 0)
    assert (tmp_path / "out" / "file").read_bytes() == data
    assert not again.remembered()
