"""Which states are left of transfers that failed, and transfers whose state cannot be written."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import trio

from p2p_copy.errors import P2PCopyError, TooMuch, UsageError, WrongCode
from p2p_copy.files.state.facts import Facts
from p2p_copy.files.state.journal import KEY, Done
from p2p_copy.files.state.store import States
from p2p_copy.protocol.code import Code
from p2p_copy.transfer.resumption import Resumption
from tests.support.transfers import CODE, Told, copy, receive, running_relay, send
from tests.support.trees import make_tree, snapshot
from tests.support.two_sides import ID

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path


pytestmark = pytest.mark.usefixtures("small_segments")


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


@pytest.mark.parametrize(
    "wrong",
    [{"only": ("[",)}, {"links": 99}, {"code": "lab-word"}, {"receipt": ""}],
    ids=lambda given: next(iter(given)),
)
@pytest.mark.parametrize("role", ["sending", "receiving"])
@pytest.mark.parametrize("tickets", [(), (bytes(32),)], ids=["new", "resumed"])
async def test_a_wrong_argument_leaves_no_state_open(
    tmp_path: Path, role: str, wrong: dict[str, Any], tickets: tuple[bytes, ...]
) -> None:
    """A program may correct it and call again, in the same process."""
    (tmp_path / "file").touch()
    states = States(str(tmp_path / "states"))
    state = states.create(ID, Facts(tickets=tickets))
    given: dict[str, Any] = {"relay": "ws://127.0.0.1:9", "code": CODE, "state": state} | wrong
    side, where = (send, tmp_path / "file") if role == "sending" else (receive, tmp_path / "out")
    with pytest.raises((UsageError, ValueError, TypeError)):
        await side(str(where), **given)
    assert len(states.all()) == len(tickets)
    states.create(ID, Facts()).close()  # else it is busy


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
    assert [line for line in told.notices if "cannot be saved beyond this run" in line] == told.notices
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
