"""How a transfer of a program ends before its time: nothing stays, and the other side is told what it should know."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import anyio
import pytest

import p2p_copy as p2p
from tests.api.support import BACKENDS, ctrl_c_while_it_waits, nothing_stays, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

both_backends = pytest.mark.parametrize("backend", BACKENDS)

AT_ONCE = 4.0
"""Seconds: less than any patience with the other side or a relay, and enough for a busy machine."""


class Boom(Exception):
    """A bug in a program."""


@both_backends
@pytest.mark.parametrize("moment", ["waiting", "moving"])
def test_leaving_early_cancels_at_once(
    relay: str, large: Path, tmp_path: Path, code: p2p.Code, backend: str, moment: str
) -> None:
    took: list[float] = []

    async def main() -> None:
        async with p2p.AsyncClient(relay=relay) as client, anyio.create_task_group() as group:
            if moment == "moving":
                group.start_soon(partial(client.receive, tmp_path / "out", code=code))
            async with client.open_send(large, code=code) as sending:
                async for event in sending.events():
                    if isinstance(event, p2p.Waiting if moment == "waiting" else p2p.Progress):
                        break
                took.append(-time.monotonic())
            took.append(time.monotonic())
            with pytest.raises(RuntimeError, match="cancelled"):
                _ = sending.report
            group.cancel_scope.cancel()

    with nothing_stays():
        run(backend, main)
    assert sum(took) < AT_ONCE


@both_backends
@pytest.mark.parametrize("entered", [True, False])
def test_a_cancelled_call_ends_at_once(
    relay: str, large: Path, code: p2p.Code, backend: str, entered: bool
) -> None:
    async def main() -> None:
        client = p2p.AsyncClient(relay=relay)
        if entered:
            await client.__aenter__()
        began = time.monotonic()
        with anyio.move_on_after(0.2):
            await client.send(large, code=code)
        assert time.monotonic() - began < 0.2 + AT_ONCE
        if entered:
            await client.__aexit__(None, None, None)

    with nothing_stays():
        run(backend, main)


def test_asyncio_may_cancel_again_and_again(relay: str, large: Path, code: p2p.Code) -> None:
    async def main() -> None:
        async with p2p.AsyncClient(relay=relay) as client:
            task = asyncio.create_task(client.send(large, code=code))
            await asyncio.sleep(0.1)
            for _ in range(3):
                task.cancel()
                await asyncio.sleep(0)
            with pytest.raises(asyncio.CancelledError):
                await task
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await client.send(large, code=code)

    with nothing_stays():
        asyncio.run(main())


@both_backends
@pytest.mark.parametrize("where", ["on_event", "async on_event", "accept", "body", "chunks"])
def test_an_exception_of_the_program_ends_the_transfer_and_the_other_side_is_told(
    relay: str, large: Path, tmp_path: Path, code: p2p.Code, backend: str, where: str
) -> None:
    told: list[BaseException] = []

    def fail(event: object) -> bool:
        if isinstance(event, p2p.Progress | p2p.TransferPreview):
            raise Boom
        return True

    async def fail_later(event: object) -> None:
        await anyio.sleep(0.01)
        fail(event)

    async def main() -> None:
        moving = anyio.Event()

        async def chunks() -> AsyncIterator[bytes]:
            yield b"x"
            await moving.wait()
            raise Boom

        def take(event: p2p.Event) -> None:
            if isinstance(event, p2p.Progress):
                moving.set()

        async with p2p.AsyncClient(relay=relay) as client, anyio.create_task_group() as group:

            async def other() -> None:
                try:
                    if where == "accept":
                        await client.send(large, code=code)
                    else:
                        await client.receive(tmp_path / "out", code=code, on_event=take)
                except p2p.PeerFailed as error:
                    told.append(error)

            group.start_soon(other)
            with pytest.raises(Boom):  # noqa: PT012 - the same for all of them
                if where == "accept":
                    await client.receive(tmp_path / "out", code=code, accept=fail)
                elif where == "on_event":
                    await client.send(large, code=code, on_event=fail)
                elif where == "async on_event":
                    await client.send(large, code=code, on_event=fail_later)
                elif where == "chunks":
                    async with client.open_send_stream(chunks(), code=code) as sending:
                        await sending.wait()
                else:
                    async with client.open_send(large, code=code) as sending:
                        async for event in sending.events():
                            fail(event)

    with nothing_stays():
        run(backend, main)
    told_why = (
        "the program that runs it failed to answer" if where == "accept" else "it met an unexpected error."
    )
    assert f"gave up: {told_why}" in str(told[0])


@both_backends
def test_an_exception_of_a_question_before_deletion_ends_the_transfer(
    relay: str, tmp_path: Path, code: p2p.Code, backend: str
) -> None:
    tree, out = tmp_path / "tree", tmp_path / "out"
    tree.mkdir()
    (tree / "file").write_text("x")
    (out / "tree").mkdir(parents=True)
    (out / "tree" / "mine").write_text("x")
    told: list[BaseException] = []

    def fail(deletion: p2p.Deletion) -> bool:
        raise Boom

    async def main() -> None:
        async with p2p.AsyncClient(relay=relay) as client, anyio.create_task_group() as group:

            async def other() -> None:
                with pytest.raises(p2p.PeerFailed) as caught:
                    await client.send(tree, code=code)
                told.append(caught.value)

            group.start_soon(other)
            with pytest.raises(Boom) as caught:
                await client.receive(
                    out, code=code, delete=True, on_conflict=p2p.Conflict.UPDATE, accept_deletion=fail
                )
            assert "p2p-copy asked this function" in caught.value.__notes__[0]

    with nothing_stays():
        run(backend, main)
    assert "gave up: the program that runs it failed to answer a question." in str(told[0])
    assert (out / "tree" / "mine").exists()
    assert (out / "tree" / "file").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="there this signal kills")
@both_backends
def test_ctrl_c_ends_a_transfer_cleanly(relay: str, large: Path, code: p2p.Code, backend: str) -> None:
    async def main() -> None:
        async with p2p.AsyncClient(relay=relay) as client:
            await client.send(large, code=code, on_event=on_event)

    with nothing_stays(), ctrl_c_while_it_waits() as on_event, pytest.raises(KeyboardInterrupt):
        run(backend, main)


@both_backends
def test_leaving_a_stream_early_ends_it_at_the_other_side(relay: str, code: p2p.Code, backend: str) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(100_000)

    async def main() -> None:
        async with p2p.AsyncClient(relay=relay) as client:
            with pytest.raises(p2p.PipeFailed, match="The receiver gave up: it was stopped"):  # noqa: PT012
                async with client.open_send_stream(endless(), code=code) as sending:
                    async with client.open_receive_stream(code=code) as chunks:
                        async for _ in chunks:
                            break
                    await sending.wait()

    with nothing_stays():
        run(backend, main)


@both_backends
def test_the_other_sides_exception_reaches_the_program(
    relay: str, tree: Path, tmp_path: Path, code: p2p.Code, backend: str
) -> None:
    """Of `wait`, of the end of events, and of the end of the block."""
    (tmp_path / "out").write_text("no directory")

    async def main() -> None:
        async with p2p.AsyncClient(relay=relay) as client:
            for how in ("wait", "events", "block"):
                with pytest.raises(p2p.OutputNotWritable):  # noqa: PT012 - the same for all of them
                    async with client.open_receive(tmp_path / "out", code=code) as receiving:
                        if how == "wait":
                            await receiving.wait()
                        elif how == "events":
                            async for _ in receiving.events():
                                pass
                        else:
                            while receiving._task.error is None:  # noqa: ASYNC110 - it is to be told by nothing
                                await anyio.sleep(0.01)

    run(backend, main)


@both_backends
def test_a_slow_reader_slows_nothing_but_its_own_events(
    relay: str, tree: Path, tmp_path: Path, code: p2p.Code, backend: str
) -> None:
    (tmp_path / "out" / "tree").mkdir(parents=True)
    for name in ("3", "5"):
        (tmp_path / "out" / "tree" / name).write_text("old")
    seen: list[p2p.Event] = []

    async def main() -> None:
        async with p2p.AsyncClient(relay=relay) as client, client.open_send(tree, code=code) as sending:
            await client.receive(tmp_path / "out", code=code)
            await sending.wait()
            seen.extend([event async for event in sending.events()])

    run(backend, main)
    assert [event.path[-1] for event in seen if isinstance(event, p2p.Problem)] == ["3", "5"]
    assert not [one for one, other in pairwise(seen) if type(one) is type(other) is p2p.Progress]


@both_backends
def test_a_callback_hears_all_events_to_the_end_also_if_the_transfer_fails(
    relay: str, tree: Path, tmp_path: Path, code: p2p.Code, backend: str
) -> None:
    heard: list[p2p.Event] = []

    async def slow(event: p2p.Event) -> None:
        await anyio.sleep(0.1)
        heard.append(event)

    async def main() -> None:
        async with p2p.AsyncClient(relay=relay) as client, client.open_send(tree, code=code):
            await client.receive(tmp_path / "out", code=code, on_event=slow)
            assert heard[-1] == p2p.Progress(8, 2_400_000, 0, 8, 2_400_000)
            heard.clear()
            with pytest.raises(p2p.PeerTimeout):
                await client.receive(tmp_path, code=p2p.Code.generate(), wait=0.01, on_event=slow)
            assert type(heard[-1]) in {p2p.Connecting, p2p.Waiting}

    with nothing_stays():
        run(backend, main)


def test_a_closed_loop_leaves_nothing(relay: str, large: Path, code: p2p.Code) -> None:
    with nothing_stays():
        loop = asyncio.new_event_loop()

        async def main() -> None:
            async with p2p.AsyncClient(relay=relay) as client:
                loop.call_later(0.2, loop.stop)
                await client.send(large, code=code)

        task = loop.create_task(main())
        loop.run_forever()
        loop.close()
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        del task
        gc.collect()


def test_a_closed_client_ends_what_others_do_with_it(relay: str, large: Path, code: p2p.Code) -> None:
    async def main() -> None:
        async with p2p.AsyncClient(relay=relay) as client:
            task = asyncio.create_task(client.send(large, code=code))
            await asyncio.sleep(0.1)
        with pytest.raises(p2p.ClientClosed):
            await task

    with nothing_stays():
        asyncio.run(main())
