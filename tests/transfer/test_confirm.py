"""The receiver's user sees what would be sent, and answers yes or no; a no costs nothing."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio

from p2p_copy.errors import (
    Declined,
    P2PCopyError,
    PeerFailed,
    PeerLost,
    PeerMisbehaved,
    PeerTimeout,
    RelayUnreachable,
)
from p2p_copy.files.state.facts import Facts
from p2p_copy.files.state.store import States
from p2p_copy.files.target.probe import space_for
from p2p_copy.observer import Observer, PreviewEntry, TransferPreview
from p2p_copy.options import Names, RelayAccess
from p2p_copy.peer import limits as peer_limits, reconnect
from p2p_copy.peer.connect import meet
from p2p_copy.peer.failures import plain_errors
from p2p_copy.peer.meeting import ConnectOptions
from p2p_copy.peer.reconnect import run_with_reconnect
from p2p_copy.protocol.messages import (
    Accept,
    Ask,
    Entry,
    FileEnd,
    Finish,
    Kind,
    Message,
    Offer,
    Page,
    Preview,
    Total,
)
from p2p_copy.protocol.rendezvous import Role
from p2p_copy.transfer import limits
from p2p_copy.transfer.conversation import Conversation
from p2p_copy.transfer.reasons import farewell
from p2p_copy.transfer.resumption import Resumption
from tests.support.keys import both_sessions
from tests.support.lossy_relay import lossy_relay
from tests.support.malicious_sender import digest, file
from tests.support.transfers import CODE, Both, Told, copy, receive, running_relay, send, wait_in_vain
from tests.support.trees import snapshot
from tests.support.two_sides import ID, TwoSides, half_way, to_the_end
from tests.support.websocket import movable_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "tree"
    (top / "sub" / "deep").mkdir(parents=True)
    (top / "sub" / "deep" / "file").write_text("1234")
    (top / "sub" / "other").write_text("12345")
    (top / "a ☃.txt").write_text("123")
    return top


class Person:
    """Remembers what is asked, and gives the answers in order, the last one again and again."""

    def __init__(self, *answers: bool) -> None:
        self._answers = list(answers)
        self.seen: list[TransferPreview] = []

    async def __call__(self, preview: TransferPreview) -> bool:
        self.seen.append(preview)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


class Thinker:
    """Never answers."""

    def __init__(self) -> None:
        self.asked = trio.Event()
        self.cancelled = False

    async def __call__(self, preview: TransferPreview) -> bool:
        self.asked.set()
        try:
            await trio.sleep_forever()
        finally:
            self.cancelled = True
        raise AssertionError("it is never woken")


async def test_a_yes_brings_everything_and_both_sides_are_told(tmp_path: Path, tree: Path) -> None:
    (tmp_path / "out" / "tree").mkdir(parents=True)
    person = Person(True)
    both = await copy(
        [tree, tree / "sub"], tmp_path / "out", receiving={"ask": person, "names": Names.SYSTEM}
    )
    assert both.reports[1].failures == 0
    (seen,) = person.seen
    assert (seen.files, seen.size, seen.counted, seen.names, seen.taken) == (5, 21, True, 2, 1)
    assert seen.free_size > 0
    assert seen.fits
    assert seen.top[0] == PreviewEntry(0, "tree", True, 0, True)
    assert {named.name for named in seen.top[1:3]} == {"a ☃.txt", "sub"}
    assert [named.depth for named in seen.top] == [0, 1, 1, 0, 1, 1]
    assert both.sender.states == ["connecting", "waiting", "paired", "asked", "accepted", "verifying"]


async def test_after_a_no_the_same_sender_serves_the_same_code(tmp_path: Path, tree: Path) -> None:
    out, told = tmp_path / "out", Told()
    states = {role: States(str(tmp_path / role)) for role in ("sender", "receiver")}
    person = Person(False, True)
    reports = []
    with trio.fail_after(30):
        async with running_relay() as relay, trio.open_nursery() as nursery:
            common: dict[str, Any] = {"relay": relay, "code": CODE}

            async def sender() -> None:
                state = states["sender"].create(ID, Facts())
                reports.append(await send([str(tree)], state=state, observer=told, **common))

            nursery.start_soon(sender)
            with pytest.raises(Declined):
                await receive(str(out), ask=person, state=states["receiver"].create(ID, Facts()), **common)
            assert not out.exists()
            assert not states["receiver"].all()
            while "declined" not in told.states:  # noqa: ASYNC110
                await trio.sleep(0.001)
            assert not any(each.facts.tickets for each in states["sender"].all())
            other = tmp_path / "other"
            reports.append(await receive(str(other), ask=person, exclude=["a*"], **common))
    assert snapshot(other / "tree") == {
        name: seen for name, seen in snapshot(tree).items() if not name.startswith("a")
    }
    assert {report.files for report in reports} == {2}
    assert told.states.count("paired") == 2
    assert not states["sender"].all()


async def test_a_receiver_that_is_stopped_at_the_question_has_not_said_yes(
    tmp_path: Path, tree: Path
) -> None:
    thinker, told = Thinker(), Told()
    with trio.fail_after(30):
        async with running_relay() as relay, trio.open_nursery() as nursery:
            common: dict[str, Any] = {"relay": relay, "code": CODE}

            async def sender() -> None:
                await send([str(tree)], patience=0, observer=told, **common)

            nursery.start_soon(sender)
            async with trio.open_nursery() as inner:

                async def receiver() -> None:
                    await receive(str(tmp_path / "out"), ask=thinker, **common)

                inner.start_soon(receiver)
                await thinker.asked.wait()
                inner.cancel_scope.cancel()
            assert not (tmp_path / "out").exists()
            report = await receive(str(tmp_path / "out"), **common)
    assert report.files == 3
    assert "declined" in told.states


async def test_a_question_that_fails_is_no_answer(tmp_path: Path, tree: Path) -> None:
    """The sender hears that this side failed; it does not wait on as it would after a no."""

    async def fails(preview: TransferPreview) -> bool:
        raise ZeroDivisionError

    with trio.fail_after(30):
        async with running_relay() as relay, trio.open_nursery() as nursery:

            async def receiver() -> None:
                with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
                    await receive(str(tmp_path / "out"), relay=relay, code=CODE, ask=fails)

            nursery.start_soon(receiver)
            with pytest.raises(PeerFailed, match="unexpected error"):
                await send([str(tree)], relay=relay, code=CODE)
    assert not (tmp_path / "out").exists()


async def test_a_sender_that_goes_away_takes_the_question_back(tmp_path: Path, tree: Path) -> None:
    thinker, both = Thinker(), Both()
    with trio.fail_after(30):
        async with running_relay() as relay, trio.open_nursery() as nursery:

            async def receiver() -> None:
                try:
                    await receive(str(tmp_path / "out"), relay=relay, code=CODE, ask=thinker, patience=0)
                except P2PCopyError as error:
                    both.received = error

            nursery.start_soon(receiver)
            async with trio.open_nursery() as inner:

                async def sender() -> None:
                    await send([str(tree)], relay=relay, code=CODE)

                inner.start_soon(sender)
                await thinker.asked.wait()
                inner.cancel_scope.cancel()
    assert isinstance(both.received, PeerLost)
    assert thinker.cancelled
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("small_segments")
async def test_after_a_loss_at_the_question_it_is_put_again(tmp_path: Path, tree: Path) -> None:
    asked = 0
    async with lossy_relay() as it:

        async def answer(preview: TransferPreview) -> bool:
            nonlocal asked
            asked += 1
            if asked == 1:
                it.cut()
                await trio.sleep_forever()
            return True

        both = await copy(
            [tree],
            tmp_path / "out",
            relay=it.address,
            sending={"patience": 20},
            receiving={"patience": 20, "ask": answer},
        )
    assert both.reports[1].files == 3
    assert asked == 2


@pytest.mark.usefixtures("small_segments")
async def test_a_resumed_transfer_is_not_asked_about_again(tmp_path: Path) -> None:
    source = tmp_path / "file"
    source.write_bytes(os.urandom(12_000_000))
    person = Person(True, False)
    async with lossy_relay() as it:
        again = TwoSides(tmp_path, it, source)
        again.options["receiver"]["ask"] = person
        await half_way(again, 4_000_000)
        await to_the_end(again)
    assert (tmp_path / "out" / "file").read_bytes() == source.read_bytes()
    assert len(person.seen) == 1


async def test_a_count_that_takes_long_is_told_while_the_question_is_open(
    tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PREVIEW_AFTER", 0.0)
    both = Both()

    async def answer(preview: TransferPreview) -> bool:
        assert not preview.counted
        while not both.receiver.totals:  # noqa: ASYNC110
            await trio.sleep(0.001)
        return True

    await copy([tree / "sub"], tmp_path / "out", both=both, receiving={"ask": answer})
    assert both.reports[1].files == 2
    assert both.receiver.totals[0] == (2, 9)


async def test_an_answer_may_come_before_the_count(
    tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PREVIEW_AFTER", 0.0)
    both = await copy([tree / "sub"], tmp_path / "out", receiving={"ask": Person(True)})
    assert both.reports[1].files == 2


async def test_what_the_receiver_leaves_out_is_not_shown(tmp_path: Path, tree: Path) -> None:
    person = Person(True)
    await copy([tree], tmp_path / "out", receiving={"ask": person, "only": ["tree/sub/"]})
    assert person.seen[0].filtered
    assert [named.name for named in person.seen[0].top] == ["tree", "sub"]


@movable_time()
async def test_the_answer_is_waited_for_for_a_bounded_time(
    tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ANSWER_TIMEOUT", 0.05)
    both = Both()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_in_vain, both, 30)
        await copy([tree], tmp_path / "out", both=both, sending={"wait": 30}, receiving={"ask": Thinker()})
    assert isinstance(both.received, Declined)
    assert isinstance(both.sent, PeerTimeout)


@pytest.mark.parametrize(
    ("role", "wait", "meetings"), [(Role.SENDER, 60, 2), (Role.SENDER, 0, 1), (Role.RECEIVER, 60, 1)]
)
async def test_only_a_sender_with_time_left_waits_on(
    monkeypatch: pytest.MonkeyPatch, role: Role, wait: float, meetings: int
) -> None:
    met: list[str] = []

    @asynccontextmanager
    async def met_at_once(partner: ConnectOptions, at: Any, wait: float) -> AsyncIterator[tuple[Any, Any]]:
        met.append(at.secret)
        await trio.lowlevel.checkpoint()
        yield None, both_sessions()[0]

    async def story(link: Any, session: Any) -> None:
        if len(met) == 2:
            return
        await memory.save_ticket(session, sure=False)
        raise Declined

    monkeypatch.setattr(reconnect, "meet", met_at_once)
    memory = Resumption(None, 60)
    partner = ConnectOptions(role, [RelayAccess("")], CODE, wait, Observer())
    if meetings == 1:
        with pytest.raises(Declined):
            await run_with_reconnect(partner, memory, story)
    else:
        await run_with_reconnect(partner, memory, story)
    assert met == [CODE.secret] * meetings, "and never by the ticket"


async def test_a_receiver_that_is_stopped_before_the_question_does_not_end_the_sender(
    tmp_path: Path, tree: Path
) -> None:
    told = Told()
    with trio.fail_after(30):
        async with running_relay() as relay, trio.open_nursery() as nursery:
            common: dict[str, Any] = {"relay": relay, "code": CODE}

            async def sender() -> None:
                await send([str(tree)], observer=told, **common)

            nursery.start_soon(sender)
            with plain_errors():
                partner = ConnectOptions(Role.RECEIVER, [RelayAccess(relay)], CODE, 10, Observer())
                async with meet(partner, Resumption(None, 0).meeting(partner), 10) as (link, session):
                    await Conversation(link, session, Role.RECEIVER).part_ways(farewell(Declined()))
            report = await receive(str(tmp_path / "out"), **common)
    assert report.files == 3
    assert "declined" in told.states


async def test_a_sender_that_waits_on_waits_for_its_relay_too(monkeypatch: pytest.MonkeyPatch) -> None:
    meetings = 0

    @asynccontextmanager
    async def met(partner: ConnectOptions, at: Any, wait: float) -> AsyncIterator[tuple[Any, Any]]:
        nonlocal meetings
        meetings += 1
        await trio.lowlevel.checkpoint()
        if meetings == 2:
            raise RelayUnreachable
        yield None, both_sessions()[0]

    async def story(link: Any, session: Any) -> None:
        if meetings == 1:
            raise Declined

    monkeypatch.setattr(reconnect, "meet", met)
    monkeypatch.setattr(peer_limits, "RETURN_AFTER", (0.001, 0.01))
    await run_with_reconnect(
        ConnectOptions(Role.SENDER, [RelayAccess("")], CODE, 60, Observer()), Resumption(None, 60), story
    )
    assert meetings == 3


# Malicious senders


async def pretend(
    out: Path, preview: Preview, *after: Sequence[Message], person: Person, only: Sequence[str] = ()
) -> P2PCopyError | None:
    """Have a sender show this, and say the rest once it is accepted; return what the receiver makes of it."""
    outcome: P2PCopyError | None = None

    async def sender(relay: str) -> None:
        try:
            with plain_errors():
                partner = ConnectOptions(Role.SENDER, [RelayAccess(relay)], CODE, 10, Observer())
                async with meet(partner, Resumption(None, 0).meeting(partner), 10) as (link, session):
                    session.say(Offer("attacker/1"))
                    await link.send(session.record())
                    assert isinstance(session.hear(await link.receive())[0], Ask)
                    session.say(preview)
                    await link.send(session.record())
                    if isinstance(session.hear(await link.receive())[0], Accept):
                        for messages in after:
                            for message in messages:
                                session.say(message)
                            await link.send(session.record())
                    await trio.sleep_forever()
        except P2PCopyError:
            pass

    with trio.fail_after(30):
        async with running_relay() as relay, trio.open_nursery() as nursery:
            nursery.start_soon(sender, relay)
            try:
                await receive(str(out), relay=relay, code=CODE, patience=0, ask=person, only=only)
            except P2PCopyError as error:
                outcome = error
            nursery.cancel_scope.cancel()
    return outcome


async def test_hostile_names_are_escaped_and_never_looked_up(tmp_path: Path) -> None:
    (tmp_path / "secret").touch()
    (tmp_path / "out").mkdir()
    names = ["../secret", "/etc", "\x1b[2Jx", "a\nb", "", "x" * 5000, "\u202egpj.exe"]
    person = Person(False)
    preview = Preview(
        2**64 - 1, 2**64 - 1, True, 2**32 - 1, tuple(Entry(Kind.FILE, 0, name, size=2**63) for name in names)
    )
    outcome = await pretend(tmp_path / "out", preview, person=person)
    assert isinstance(outcome, Declined)
    (seen,) = person.seen
    assert seen.taken == 0
    assert not seen.fits
    assert all(named.name.isprintable() and len(named.name) <= 2500 for named in seen.top)
    assert [named.name for named in seen.top][:3] == ["../secret", "/etc", "\\x1b[2Jx"]


async def test_a_preview_without_sense_is_a_violation(tmp_path: Path) -> None:
    person = Person(True)
    preview = Preview(1, 1, True, 1, (Entry(Kind.FILE, 3, "lost"),))
    outcome = await pretend(tmp_path / "out", preview, person=person)
    assert isinstance(outcome, PeerMisbehaved)
    assert not person.seen
    assert not (tmp_path / "out").exists()


async def test_long_paths_do_not_keep_patterns_busy(tmp_path: Path) -> None:
    """A pattern with two stars takes time by the square of a path's length: hours, in a thread that cannot end."""
    deep = [Entry(Kind.DIRECTORY, depth, "a/" * 4000) for depth in range(90)]
    person = Person(True)
    outcome = await pretend(
        tmp_path / "out", Preview(1, 1, True, 1, tuple(deep)), person=person, only=["a/**/a/**/b"]
    )
    assert isinstance(outcome, PeerMisbehaved)
    assert not person.seen


async def test_a_preview_that_lies_changes_nothing_but_the_answer(tmp_path: Path) -> None:
    preview = Preview(0, 0, False, 1, (Entry(Kind.FILE, 0, "harmless"),))
    entries = (file(0, "harmful"),)
    person = Person(True)
    outcome = await pretend(
        tmp_path / "out",
        preview,
        [Total(5, 5), Page(entries), FileEnd(0, digest(b"")), Finish(1, 1, 0, 0, bytes(32))],
        person=person,
    )
    assert isinstance(outcome, PeerMisbehaved), "its sums are held against what it sent, as ever"


# The space


def test_the_room_is_that_of_where_the_directory_will_be(tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    assert space_for(str(tmp_path), ["there", "not there"]).taken == {"there"}
    size, _, taken = space_for(str(tmp_path / "not" / "yet"), ["there"])
    assert size > 0
    assert not taken
    assert not (tmp_path / "not").exists()
    with pytest.raises(P2PCopyError):
        space_for(str(tmp_path / "there" / "below"), [])
