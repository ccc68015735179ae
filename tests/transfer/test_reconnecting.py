"""Transfers that are resumed: links cut, relays gone for a while, sides killed and started again, sources changed."""

from __future__ import annotations

import itertools
import math
import os
import time
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import trio
from blake3 import blake3

from p2p_copy.errors import (
    NotARelay,
    P2PCopyError,
    PeerLost,
    RelayLost,
    RelayUnreachable,
    TooMuch,
    UsageError,
    WrongCode,
)
from p2p_copy.files import limits as files_limits
from p2p_copy.files.directory import Directory
from p2p_copy.files.state import journal
from p2p_copy.files.state.facts import Facts
from p2p_copy.files.state.journal import KEY, Done
from p2p_copy.files.state.store import States
from p2p_copy.files.temporary import has_tag, temporary_name
from p2p_copy.observer import Report
from p2p_copy.options import Conflict
from p2p_copy.peer import limits as peer_limits
from p2p_copy.peer.backoff import Backoff
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.protocol.code import Code
from p2p_copy.transfer import limits, send as sender
from p2p_copy.transfer.resumption import Resumption
from p2p_copy.transfer.tree.consumer import TreeConsumer
from p2p_copy.transfer.tree.producer import TreeProducer
from p2p_copy.units import MIB
from tests.files.receipts.samples import differences, parsed
from tests.support.numbers import home_of
from tests.support.transfers import CODE, Both, Told, copy, receive, running_relay, send
from tests.support.trees import leftovers, make_tree, snapshot

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

    from p2p_copy.files.state.store import State
    from p2p_copy.protocol.messages import Accept
    from p2p_copy.transfer.conversation import Conversation

pytestmark = pytest.mark.usefixtures("small_segments")

SEGMENT = 1 * MIB
ID = "0" * 32


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Smaller numbers: a few MB are enough for a long transfer."""
    monkeypatch.setattr(protocol_limits, "SEGMENT", SEGMENT)
    monkeypatch.setattr(peer_limits, "RETURN_AFTER", (0.02, 0.1))
    monkeypatch.setattr(files_limits, "JOURNAL_INTERVAL", 0.01)
    monkeypatch.setattr(peer_limits, "ROOM_TURN", 0.2)
    monkeypatch.setattr(limits, "RECEIPT_LINGER", 2.0)
    monkeypatch.setattr(limits, "GOODBYE_LINGER", 1.0)


class Wire:
    """A proxy in front of a relay, whose connections can be cut, and which counts what senders and receivers send."""

    def __init__(self) -> None:
        self.address = ""
        self.up = True
        self.portals = 0
        """So many connections from now on get the login page of a captive portal."""
        self.on_cut: Callable[[], None] = lambda: None
        self.upstream = 0
        self.cuts = 0
        self.dam = math.inf
        """Upstream bytes after which nothing passes until this number is raised."""
        self.downstream = 0
        self.down_dam = math.inf
        """The same for bytes from the relay."""
        self.dam_each = math.inf
        """Upstream bytes of one connection after which nothing passes there until this number is raised."""
        self._links: dict[trio.CancelScope, None] = {}  # in the order in which they were opened
        self._cut_after: list[int] = []

    def cut_after(self, *bytes_sent: int) -> None:
        """Cut all connections each time that so many more bytes were sent."""
        self._cut_after += bytes_sent

    def cut(self) -> None:
        self.cuts += 1
        self.on_cut()
        for scope in self._links:
            scope.cancel()

    def cut_one(self, number: int) -> None:
        """Cut one of the open connections, by its number in the order in which they were opened."""
        list(self._links)[number].cancel()

    def _count(self, size: int) -> None:
        self.upstream += size
        if self._cut_after:
            self._cut_after[0] -= size
            if self._cut_after[0] <= 0:
                self._cut_after.pop(0)
                self.cut()

    async def carry(self, client: trio.SocketStream, port: int) -> None:
        if not self.up:
            await client.aclose()
            return
        if self.portals:
            self.portals -= 1
            async with client:
                await client.receive_some()
                await client.send_all(b"HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n")
                await client.receive_some()
            return
        with trio.CancelScope() as scope:
            self._links[scope] = None
            try:
                async with (
                    await trio.open_tcp_stream("127.0.0.1", port) as relay,
                    trio.open_nursery() as nursery,
                ):

                    async def up() -> None:
                        passed = 0
                        while data := await client.receive_some(65536):
                            self._count(len(data))
                            passed += len(data)
                            while self.upstream > self.dam or passed > self.dam_each:  # noqa: ASYNC110
                                await trio.sleep(0.002)
                            await relay.send_all(data)
                        nursery.cancel_scope.cancel()

                    async def down() -> None:
                        while data := await relay.receive_some(65536):
                            self.downstream += len(data)
                            while self.downstream > self.down_dam and len(data) > 1000:  # noqa: ASYNC110
                                await trio.sleep(0.002)
                            await client.send_all(data)
                        nursery.cancel_scope.cancel()

                    nursery.start_soon(up)
                    nursery.start_soon(down)
            except* (trio.BrokenResourceError, OSError):
                pass
            finally:
                del self._links[scope]
                with trio.CancelScope(shield=True):
                    await trio.aclose_forcefully(client)


@asynccontextmanager
async def wire(**settings: Any) -> AsyncIterator[Wire]:
    it = Wire()
    async with running_relay(**settings) as relay, trio.open_nursery() as nursery:
        port = int(relay.rpartition(":")[2])

        async def carry(client: trio.SocketStream) -> None:
            await it.carry(client, port)

        listeners = await nursery.start(trio.serve_tcp, carry, 0)
        it.address = f"ws://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        yield it
        nursery.cancel_scope.cancel()


async def through(it: Wire, tree: Path, out: Path, **more: Any) -> Both:
    lasting = {"patience": 20.0}
    return await copy(
        [tree],
        out,
        relay=it.address,
        sending={**lasting, **more.get("sending", {})},
        receiving={**lasting, **more.get("receiving", {})},
    )


@pytest.mark.fault(77, "lost link")
async def test_a_large_file_goes_on_where_its_link_was_cut(tmp_path: Path) -> None:
    data = os.urandom(12_000_000)
    (tmp_path / "file").write_bytes(data)
    async with wire() as it:
        it.cut_after(3_000_000, 3_000_000, 3_000_000)
        both = await through(it, tmp_path / "file", tmp_path / "out")
    sent, received = both.reports
    assert it.cuts == 3
    assert (tmp_path / "out" / "file").read_bytes() == data
    assert (sent.files, sent.size, sent.root) == (received.files, received.size, received.root)
    assert not leftovers(tmp_path / "out")
    assert it.upstream < 28_000_000, "both clients' bytes: the file, and for each cut what was in the buffers"


async def test_both_sides_know_what_was_there_when_they_met_again(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(os.urandom(40_000_000))
    (tmp_path / "small").write_bytes(os.urandom(1000))
    async with wire() as it:
        it.cut_after(38_000_000)
        both = await copy(
            [tmp_path / "small", tmp_path / "file"],
            tmp_path / "out",
            relay=it.address,
            sending={"patience": 20.0},
            receiving={"patience": 20.0},
        )
    assert it.cuts == 1
    assert both.reports[0].files == 2
    assert both.sender.saved == both.receiver.saved
    assert both.receiver.saved > protocol_limits.SEGMENT
    assert (both.receiver.saved - 1000) % protocol_limits.SEGMENT == 0


async def test_a_tree_goes_on_where_its_link_was_cut(tmp_path: Path) -> None:
    tree = make_tree(tmp_path)
    (tree / "more").mkdir()
    for number in range(2_000):
        (tree / "more" / f"{number}").write_bytes(os.urandom(1_000))
    async with wire() as it:
        it.cut_after(200_000, 900_000, 400_000, 500_000, 300_000)
        both = await through(it, tree, tmp_path / "out")
    assert it.cuts == 5
    assert both.reports[0].failures == 0
    assert snapshot(tmp_path / "out" / tree.name) == snapshot(tree)
    assert not leftovers(tmp_path / "out")


async def test_a_login_page_where_the_relay_was_is_waited_for_like_any_loss(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(data := os.urandom(5_000_000))
    async with wire() as it:

        def to_the_login() -> None:
            it.portals = 5

        it.on_cut = to_the_login
        it.cut_after(2_000_000)
        both = await through(it, tmp_path / "file", tmp_path / "out")
    assert (it.cuts, it.portals) == (1, 0)
    assert both.reports[0].failures == 0
    assert (tmp_path / "out" / "file").read_bytes() == data


@pytest.mark.parametrize("role", ["sender", "receiver"])
async def test_a_side_that_ended_for_a_reason_of_its_own_meets_the_other_again(
    tmp_path: Path, role: str
) -> None:
    (tmp_path / "file").write_bytes(data := os.urandom(12_000_000))
    other = {"sender": "receiver", "receiver": "sender"}[role]
    async with wire() as it:
        again = Again(tmp_path, it, tmp_path / "file")
        await half_way(again, 3_000_000)
        it.portals = 1
        with trio.fail_after(30):
            with pytest.raises(NotARelay):
                await again.start(role)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(again.start, other)
                await again.start(role)
    assert (tmp_path / "out" / "file").read_bytes() == data
    assert not again.remembered()


async def test_without_patience_a_cut_is_the_end(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(os.urandom(5_000_000))
    async with wire() as it:
        it.cut_after(2_000_000)
        both = await copy([tmp_path / "file"], tmp_path / "out", relay=it.address)
    assert isinstance(both.sent, PeerLost | RelayLost)
    assert isinstance(both.received, PeerLost | RelayLost)
    assert os.listdir(tmp_path / "out") == []


@pytest.mark.fault(77, "patience")
async def test_patience_ends(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(os.urandom(5_000_000))
    async with wire() as it:

        def stay_away() -> None:
            it.up = False

        it.cut_after(2_000_000)
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                while not it.cuts:  # noqa: ASYNC110
                    await trio.sleep(0.001)
                stay_away()

            nursery.start_soon(watch)
            both = await copy(
                [tmp_path / "file"],
                tmp_path / "out",
                relay=it.address,
                sending={"patience": 0.5},
                receiving={"patience": 0.5},
            )
    for error in (both.sent, both.received):
        assert isinstance(error, PeerLost | RelayLost | RelayUnreachable)
    assert os.listdir(tmp_path / "out") == []


# Sides that end and are started again


class Again:
    """Two sides with a state each, which can be stopped and started again."""

    def __init__(self, tmp_path: Path, at: Wire, source: Path) -> None:
        self.out = tmp_path / "out"
        self._memories = {role: States(str(tmp_path / role)) for role in ("sender", "receiver")}
        self.wire = at
        self._source = source
        self.told = {role: Told() for role in self._memories}
        self.options: dict[str, dict[str, Any]] = {role: {} for role in self._memories}

    def state(self, role: str) -> State:
        states = self._memories[role]
        return states.open(ID) or states.create(ID, Facts())

    def remembered(self) -> list[str]:
        return [id_ for states in self._memories.values() for id_, _, _ in states.all()]

    async def start(self, role: str) -> Any:
        common = {
            "relay": self.wire.address,
            "code": CODE,
            "patience": 20.0,
            "state": self.state(role),
            "observer": self.told[role],
            **self.options[role],
        }
        if role == "sender":
            return await send([str(self._source)], **common)
        return await receive(str(self.out), **common)

    async def until(self, role: str, when: Callable[[], bool]) -> None:
        """Run one side, and stop it when a condition holds."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.start, role)
            while not when():  # noqa: ASYNC110
                await trio.sleep(0.001)
            self.wire.dam = math.inf
            nursery.cancel_scope.cancel()

    async def until_sent(self, role: str, size: int) -> None:
        """Run one side, and stop it when so many bytes in all were sent to the relay; no more pass before."""
        self.wire.dam = size
        await self.until(role, lambda: self.wire.upstream > size)

    async def until_arrived(self, role: str, size: int) -> None:
        """Run one side and stop it as soon as the receiver has so many bytes."""
        arrived = trio.Event()

        def look(_: int, here: int) -> None:
            if here > size:
                arrived.set()

        self.told["receiver"].on_progress = look
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.start, role)
            await arrived.wait()
            nursery.cancel_scope.cancel()

    async def kill(self, role: str, more: int) -> None:
        """Stop one side after so many more bytes to the relay, as if it were killed: its journal is written no more."""
        size = self.wire.upstream + more
        with pytest.MonkeyPatch.context() as patch:

            def dead() -> bool:
                # A killed process makes no directory, so the first one must exist and be noted before.
                sent = self.wire.upstream > size
                if it_is_time := sent and any(map(os.path.isdir, self.out.glob("*"))):
                    patch.setattr(journal.Journal, "commit", lambda journal, **_: None)
                return it_is_time

            self.wire.dam = size
            await self.until(role, dead)

    def tag(self, role: str) -> str:
        with self.state(role) as state:
            return Resumption(state, 0).tag


@pytest.mark.parametrize("role", ["sender", "receiver"])
async def test_a_side_that_was_stopped_is_started_again_and_goes_on(tmp_path: Path, role: str) -> None:
    data = os.urandom(12_000_000)
    (tmp_path / "file").write_bytes(data)
    other = {"sender": "receiver", "receiver": "sender"}[role]
    async with wire() as it:
        again = Again(tmp_path, it, tmp_path / "file")
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
    async with wire() as it:
        again = Again(tmp_path, it, tree)
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
    assert it.upstream - so_far < 12_000_000 - 600_000 * (len(there) - 2)
    assert not leftovers(tmp_path / "out")


async def half_way(again: Again, size: int) -> None:
    """Run both sides until so many bytes have arrived, then stop both; little more passes before."""
    again.wire.dam = size + 2_000_000

    def arrived() -> bool:
        return again.told["receiver"].last[1] > size

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(again.until, "receiver", arrived)
            await again.until("sender", arrived)


async def to_the_end(again: Again) -> None:
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(again.start, "receiver")
            await again.start("sender")


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
    async with wire() as it:
        again = Again(tmp_path, it, tmp_path / "file")
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
    async with wire() as it:
        again = Again(tmp_path, it, tree)
        await half_way(again, 7_000_000)
        file = tmp_path / role / f"{ID}.journal"
        assert file.exists()
        if how == "gone":
            file.unlink()
        else:
            file.write_bytes(os.urandom(5_000))
        again.options["receiver"]["conflict"] = (
            Conflict.OVERWRITE
        )  # or its own files, which it does not remember, would stand in its way
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
    async with wire() as it:
        again = Again(tmp_path, it, tree)
        await half_way(again, 7_000_000)
        there = sorted((again.out / "tree").glob("??"))
        overwrite(there[0], 5, silently=True)  # as if it had never reached the disk
        monkeypatch.setattr(journal, "boot_id", lambda: "another boot")
        await to_the_end(again)
    assert snapshot(again.out / "tree") == snapshot(tree)


async def test_a_file_that_was_delivered_and_removed_comes_again_and_one_that_was_edited_is_kept(
    tmp_path: Path,
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(40):
        (tree / f"{number:02}").write_bytes(os.urandom(600_000))
    async with wire() as it:
        again = Again(tmp_path, it, tree)
        await half_way(again, 7_000_000)
        removed, edited, *_ = sorted((again.out / "tree").glob("??"))
        removed.unlink()
        edited.write_text("mine")
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(again.start, "receiver")
                report = await again.start("sender")
    assert removed.read_bytes() == (tree / removed.name).read_bytes()
    assert edited.read_text() == "mine", "nothing that somebody else has written is replaced unasked"
    assert report.failures == 1


async def test_what_the_sender_has_removed_leaves_no_part_behind(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "large").write_bytes(os.urandom(24_000_000))
    async with wire() as it:
        again = Again(tmp_path, it, tree)
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
    async with wire() as it:
        again = Again(tmp_path, it, tree)
        await half_way(again, 7_000_000)
        await to_the_end(again)
    assert snapshot(again.out / "tree") == snapshot(tree)
    assert (again.out / "tree").stat().st_mtime_ns == 2


@pytest.mark.fault(44, "second guess")
async def test_a_wrong_guess_ends_the_code_and_not_the_transfer(tmp_path: Path) -> None:
    """The code's room is still tried, since the other side may have lost its state; the code is tried only once."""
    (tmp_path / "file").write_bytes(os.urandom(6_000_000))
    async with wire() as it:
        again = Again(tmp_path, it, tmp_path / "file")
        await half_way(again, 2_500_000)
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(again.start, "sender")
                for code in (Code(CODE.room, "a wrong guess"), CODE):
                    with pytest.raises(WrongCode):
                        await receive(str(tmp_path / "thief"), relay=it.address, code=code, patience=0)
                await again.start("receiver")
    (notice,) = again.told["sender"].notices
    assert "not used any more" in notice
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
    async with wire() as it:
        again = Again(tmp_path, it, tmp_path / "file")
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


@pytest.mark.fault(77, "pauses")
def test_pauses_grow_up_to_a_bound_and_are_never_the_same() -> None:
    least, most = peer_limits.RETURN_AFTER
    first, *_, last = ([pauses.next() for _ in range(20)] for pauses in (Backoff(), Backoff()))
    assert first != last
    for seconds in (first, last):
        assert 0.5 * least <= seconds[0] <= 1.5 * least
        assert all(0.5 * most <= each <= 1.5 * most for each in seconds[10:])


# Attempts that failed before there was anything to resume


ID = "0" * 32


async def failed(
    tmp_path: Path, attempt: Callable[[dict[str, Any]], Awaitable[object]], *tickets: bytes
) -> int:
    """Have an attempt fail that has a state with `tickets`; return how many states are left."""
    states = States(str(tmp_path / "states"))
    with pytest.raises(P2PCopyError):
        await attempt({"state": states.create(ID, Facts(tickets=tickets))})
    return len(states.all())


async def test_a_relay_that_is_not_there_leaves_nothing_to_go_on_with(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    nowhere: dict[str, Any] = {"relay": "ws://127.0.0.1:9", "code": CODE}
    assert not await failed(tmp_path, lambda its: send([str(tmp_path / "file")], **nowhere, **its))
    assert not await failed(tmp_path, lambda its: receive(str(tmp_path / "out"), **nowhere, **its))


async def test_a_source_that_is_not_there_leaves_nothing_to_go_on_with(tmp_path: Path) -> None:
    nowhere: dict[str, Any] = {"relay": "ws://127.0.0.1:9", "code": CODE}
    assert not await failed(tmp_path, lambda its: send([str(tmp_path / "file")], **nowhere, **its))


@pytest.mark.parametrize("role", ["sending", "receiving"])
async def test_a_side_that_never_met_the_other_leaves_no_state(tmp_path: Path, role: str) -> None:
    (tmp_path / "file").touch()
    async with running_relay() as relay:
        there: dict[str, Any] = {"relay": relay, "code": CODE, "wait": 0.1}

        async def alone(its: dict[str, Any]) -> None:
            if role == "sending":
                await send([str(tmp_path / "file")], **there, **its)
            else:
                await receive(str(tmp_path / "out"), **there, **its)

        assert not await failed(tmp_path, alone)


@pytest.mark.parametrize("role", ["sending", "receiving"])
async def test_wrong_codes_leave_no_more_than_that_the_code_is_used_up(tmp_path: Path, role: str) -> None:
    (tmp_path / "file").touch()

    async def both(its: dict[str, Any]) -> None:
        other = Code("lab", "another passphrase")
        options: dict[str, Any] = {role: its}
        both = await copy([tmp_path / "file"], tmp_path / "out", receiver_code=other, **options)
        assert isinstance(both.sent, WrongCode)
        raise both.sent

    assert await failed(tmp_path, both)
    (left,) = States(str(tmp_path / "states")).all()
    assert replace(left.facts, claim="") == Facts(spent=True)


async def test_a_receiver_that_takes_nothing_leaves_no_state(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"more than nothing")

    async def both(its: dict[str, Any]) -> None:
        both = await copy([tmp_path / "file"], tmp_path / "out", receiving={"max_size": 0, **its})
        assert isinstance(both.received, TooMuch)
        raise both.received

    assert not await failed(tmp_path, both)


async def test_a_side_that_is_started_again_waits_for_the_other_one_however_short_its_patience_is(
    tmp_path: Path,
) -> None:
    """Patience is for losses; the other side's command may be started again later than this one's."""
    (tmp_path / "file").write_bytes(b"words")
    met = Facts(tickets=(bytes(32),), sure=True)
    states = {role: States(str(tmp_path / role)).create(ID, met) for role in ("sender", "receiver")}
    with trio.fail_after(30):
        async with running_relay() as relay, trio.open_nursery() as nursery:
            common: dict[str, Any] = {"relay": relay, "code": CODE, "patience": 0, "wait": 20}
            told = Told()

            async def sender() -> None:
                paths = [str(tmp_path / "file")]
                await send(paths, state=states["sender"], observer=told, **common)

            nursery.start_soon(sender)
            while "waiting" not in told.states:  # noqa: ASYNC110
                await trio.sleep(0.01)
            report = await receive(str(tmp_path / "out"), state=states["receiver"], **common)
    assert report.files == 1


async def test_a_try_that_fails_takes_nothing_from_what_there_is_to_go_on_with(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    nowhere: dict[str, Any] = {"relay": "ws://127.0.0.1:9", "code": CODE, "patience": 0}
    met = bytes(32)
    assert await failed(tmp_path, lambda its: send([str(tmp_path / "file")], **nowhere, **its), met)
    assert await failed(tmp_path, lambda its: send([str(tmp_path / "gone")], **nowhere, **its), met)


# Stalls


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stalls are detected at once, by the relay first."""
    for name, seconds in {
        "STALL": 0.6,
        "HEARTBEAT": 0.1,
        "PROGRESS_INTERVAL": 0.05,
        "REPORT_STALL_AFTER": 0.3,
        "PAIRING_CHECK_INTERVAL": 0.1,
    }.items():
        monkeypatch.setattr(home_of(name), name, seconds)


@pytest.mark.usefixtures("soon")
async def test_each_side_says_on_whom_it_is_when_nothing_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(os.urandom(80_000_000))
    consume = TreeConsumer.consume
    both = Both()
    expected = (
        (both.receiver.stalls, "disk here has taken nothing"),
        (both.sender.stalls, "receiver's disk, or its network, accepts nothing"),
    )

    def told() -> bool:
        return all(any(part in said for said in stalls) for stalls, part in expected)

    def slowly(self: TreeConsumer, records: Sequence[bytes | str], now: float) -> list[bytes]:
        until = time.monotonic() + 30
        while self.outcomes.size > 10_000_000 and not told() and time.monotonic() < until:
            time.sleep(0.01)
        return consume(self, records, now)

    monkeypatch.setattr(TreeConsumer, "consume", slowly)
    async with running_relay() as relay:
        await copy([tmp_path / "file"], tmp_path / "out", relay=relay, both=both)
    assert both.reports[0].files == 1
    assert told()
    assert "moving" in both.receiver.stalls
    assert "moving" in both.sender.stalls


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize(
    ("dam", "sender_says", "receiver_says"),
    [
        ("dam", "the connection to the relay accepts nothing", "the connection from"),
        ("down_dam", "its connection accepts nothing from the relay", "the connection from"),
    ],
)
async def test_a_way_that_takes_nothing_is_named(
    tmp_path: Path, dam: str, sender_says: str, receiver_says: str
) -> None:
    (tmp_path / "file").write_bytes(
        os.urandom(80_000_000)
    )  # more than all buffers between the two sides hold
    both = Both()
    expected = (both.sender.stalls, sender_says), (both.receiver.stalls, receiver_says)
    async with wire() as it:
        setattr(it, dam, 6_000_000)

        async def open_when_told() -> None:
            while not all(any(part in said for said in stalls) for stalls, part in expected):  # noqa: ASYNC110
                await trio.sleep(0.01)
            setattr(it, dam, math.inf)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(open_when_told)
            await copy([tmp_path / "file"], tmp_path / "out", relay=it.address, both=both)
            assert both.reports[0].files == 1
            nursery.cancel_scope.cancel()
    assert both.receiver.stalls[-1] == both.sender.stalls[-1] == "moving"


@pytest.mark.usefixtures("soon")
async def test_what_has_left_the_sender_is_watched_until_the_receiver_confirms_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fits into the buffers of the sockets, so all is sent long before anything has arrived."""
    (tmp_path / "file").write_bytes(os.urandom(100_000))
    consume = TreeConsumer.consume
    both = Both()
    early: list[str] = []

    def slowly(self: TreeConsumer, records: Sequence[bytes | str], now: float) -> list[bytes]:
        until = time.monotonic() + 30
        while not self.outcomes.files and not both.sender.stalls and time.monotonic() < until:
            time.sleep(0.01)
        early.extend(both.sender.states[-1:])
        return consume(self, records, now)

    monkeypatch.setattr(TreeConsumer, "consume", slowly)
    await copy([tmp_path / "file"], tmp_path / "out", both=both)
    assert both.reports[0].files == 1
    assert early[0] == "paired", "it is not verified before it is there"
    assert both.sender.states[-1] == "verifying"
    assert "everything was sent, but the receiver's disk" in both.sender.stalls[0]
    assert both.sender.stalls[-1] == "moving"


async def test_a_sender_that_gives_up_on_the_receipt_says_what_the_receiver_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RECEIPT_TIMEOUT", 0.3)
    (tmp_path / "file").write_bytes(os.urandom(100_000))
    consume = TreeConsumer.consume
    both = Both()

    def slowly(self: TreeConsumer, records: Sequence[bytes | str], now: float) -> list[bytes]:
        until = time.monotonic() + 30
        while both.sent is None and time.monotonic() < until:
            time.sleep(0.01)
        return consume(self, records, now)

    monkeypatch.setattr(TreeConsumer, "consume", slowly)
    await copy([tmp_path / "file"], tmp_path / "out", both=both)
    assert isinstance(both.sent, PeerLost)
    assert "nothing more of it has reached the receiver" in str(both.sent)


@pytest.mark.usefixtures("soon")
async def test_a_sender_whose_disk_gives_nothing_is_told_from_a_way_that_takes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(os.urandom(10_000_000))
    both = Both()
    here = "Nothing moves: the disk here has given nothing"
    there = "Nothing moves: the sender's disk, or the connection from it, brings nothing to the relay"
    make = TreeProducer.next_records
    trips = itertools.count()

    def slowly(self: TreeProducer, most: int) -> list[bytes]:
        give_up = time.monotonic() + 20
        stuck = next(trips) == 1
        while stuck and not (here in both.sender.stalls and there in both.receiver.stalls):
            assert time.monotonic() < give_up
            time.sleep(0.01)
        return make(self, most)

    monkeypatch.setattr(TreeProducer, "next_records", slowly)
    await copy([tmp_path / "file"], tmp_path / "out", both=both)
    assert both.reports[0].files == 1
    assert both.receiver.stalls[-1] == both.sender.stalls[-1] == "moving"


# Receipts


async def test_receipts_hold_after_cuts_wherever_things_were_put(tmp_path: Path) -> None:
    tree = make_tree(tmp_path)
    (tree / "more").mkdir()
    for number in range(1_000):
        (tree / "more" / f"{number:04}").write_bytes(os.urandom(1_000))
    (tmp_path / "out" / tree.name / "more").mkdir(parents=True)
    for name in ("d", "more/0000", "more/0999", "script", "dangling"):
        (tmp_path / "out" / tree.name / name).write_text("in the way")
    receipts = [tmp_path / "sent", tmp_path / "received"]
    async with wire() as it:
        it.cut_after(200_000, 600_000, 400_000, 500_000)
        both = await through(
            it,
            tree,
            tmp_path / "out",
            sending={"receipt": str(receipts[0])},
            receiving={"receipt": str(receipts[1]), "conflict": Conflict.RENAME},
        )
    assert it.cuts == 4
    sent, received = both.reports
    verdict, told = differences(receipts[1], tmp_path / "out")
    assert not told
    assert (verdict.files, verdict.root) == (received.files, sent.root)
    documents = [parsed(receipt) for receipt in receipts]
    assert [document["root"] for document in documents] == [sent.root, sent.root]
    assert all(document["started"] < document["ended"] for document in documents)
    renamed = {entry["path"] for entry in documents[1]["entries"] if "name" in entry}
    assert renamed == {f"a tree/{name} (1)" for name in ("d", "more/0000", "more/0999", "script", "dangling")}
    assert not leftovers(tmp_path)


@pytest.mark.parametrize("role", ["sender", "receiver"])
async def test_a_side_that_is_started_again_looks_at_its_receipt_first_and_goes_on_with_another(
    tmp_path: Path, role: str
) -> None:
    (tmp_path / "file").write_bytes(os.urandom(24_000_000))
    other = {"sender": "receiver", "receiver": "sender"}[role]
    receipts = {name: tmp_path / f"{name}.json" for name in (role, other)}
    async with wire() as it:
        again = Again(tmp_path, it, tmp_path / "file")
        again.options = {name: {"receipt": str(path)} for name, path in receipts.items()}
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(again.start, other)
                await again.until_sent(role, 16_000_000)
                assert not receipts[role].exists()
                receipts[role].write_text("mine")
                with pytest.raises(UsageError):
                    await again.start(role)
                receipts[role].unlink()
                await again.start(role)
    assert it.upstream < 36_000_000, "it went on where it was; from the beginning it would be 40"
    for path in receipts.values():
        verdict, told = differences(path, tmp_path / "out", strict=True)
        assert (verdict.files, told) == (1, {})
    assert not leftovers(tmp_path)
    assert not again.remembered()


async def test_patience_that_ended_leaves_no_receipt(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(os.urandom(5_000_000))
    async with wire() as it:
        it.cut_after(2_000_000)
        both = await copy(
            [tmp_path / "file"],
            tmp_path / "out",
            relay=it.address,
            sending={"receipt": str(tmp_path / "sent")},
            receiving={"receipt": str(tmp_path / "received")},
        )
    assert isinstance(both.sent, PeerLost | RelayLost)
    assert sorted(os.listdir(tmp_path)) == ["file", "out"]


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
    async with wire() as it:
        again = Again(tmp_path, it, tree)
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
    async with wire() as it:
        again = Again(tmp_path, it, tree)
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(again.start, "sender")
                await again.kill("receiver", 3_000_000)
                last = max((path.stat().st_ctime for path in (again.out / "tree").iterdir()), default=0.0)
                with closing(journal.Journal(str(tmp_path / "receiver" / f"{ID}.journal"))) as noted:
                    late = max(last - noted.committed_at, 0.0) + 0.02
                monkeypatch.setattr(
                    files_limits, "JOURNAL_LATE", late
                )  # or this test would have to wait for its end
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


@pytest.mark.parametrize("killed", [(), ("sender",), ("receiver",), ("sender", "receiver")])
@pytest.mark.parametrize("answered", [False, True])
async def test_a_link_that_is_lost_when_both_have_just_met_is_no_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answered: bool, killed: Sequence[str]
) -> None:
    """One side has the ticket then, and the other one does not, or does not know whether the first one has it."""
    (tmp_path / "file").write_bytes(data := os.urandom(1_000_000))
    lost = trio.Event()
    offer = sender._Story._offer

    def receiver_has_met() -> bool:
        on_disk = States(str(tmp_path / "receiver")).all()
        return "paired" in again.told["receiver"].states and not any(each.facts.spent for each in on_disk)

    async def lose(story: sender._Story, conversation: Conversation) -> Accept:
        if answered:
            await offer(story, conversation)
        while not receiver_has_met():  # noqa: ASYNC110 - a kill before that has used up the code
            await trio.sleep(0.005)
        monkeypatch.undo()
        for name, value in {"RETURN_AFTER": (0.1, 0.2), "ROOM_TURN": 0.5, "GOODBYE_LINGER": 1.0}.items():
            monkeypatch.setattr(home_of(name), name, value)
        lost.set()
        it.cut()
        await conversation.hear()
        raise AssertionError("nothing comes any more")

    monkeypatch.setattr(sender._Story, "_offer", lose)
    async with wire() as it:
        again = Again(tmp_path, it, tmp_path / "file")

        async def run(role: str) -> None:
            if role in killed:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(again.start, role)
                    await (
                        lost.wait()
                    )  # at once: a side that is killed during the next key exchange has used up the code
                    nursery.cancel_scope.cancel()
            await again.start(role)

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run, "sender")
                nursery.start_soon(run, "receiver")
    assert (tmp_path / "out" / "file").read_bytes() == data
    assert not again.remembered()


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
    async with wire() as it:
        again = Again(tmp_path, it, tmp_path / "file")
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


# States that can no longer be written


@pytest.mark.parametrize("role", ["sender", "receiver"])
async def test_a_state_that_cannot_be_written_any_more_ends_no_transfer(tmp_path: Path, role: str) -> None:
    """There is a directory with the name of the file that is written first."""
    tree = make_tree(tmp_path)
    states = tmp_path / "states"
    state = States(str(states)).create(ID, Facts())
    (states / f"{ID}.json.new").mkdir()
    with_state = {"state": state}
    async with running_relay() as relay:
        both = await copy(
            [tree],
            tmp_path / "out",
            relay=relay,
            sending=with_state if role == "sender" else {},
            receiving=with_state if role == "receiver" else {},
        )
    assert [report.failures for report in both.reports] == [0, 0]
    assert snapshot(tmp_path / "out" / tree.name) == snapshot(tree)
    told: Told = getattr(both, role)
    assert [line for line in told.notices if "cannot be remembered beyond this run" in line] == told.notices
    assert len(told.notices) == 1


async def test_a_journal_that_cannot_be_written_is_told_of_if_it_is_missed(tmp_path: Path) -> None:
    states = tmp_path / "states"
    for done in (False, True):
        told = Told()
        memory = Resumption(States(str(states)).create(ID, Facts()), 0, told)
        (states / f"{ID}.journal").mkdir()
        memory.journal.set_done(bytes(KEY), Done(b"it", b"", "", flushed=False))
        await memory.close(done=done)
        assert len(told.notices) == (0 if done else 1)
        (states / f"{ID}.journal").rmdir()
