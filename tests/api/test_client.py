"""What a program can do with the asynchronous client, under Trio and under asyncio."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import sniffio

import p2p_copy as p2p
from p2p_copy.files.state.store import States
from tests.api.support import BACKENDS, nothing_stays, run

if TYPE_CHECKING:
    import threading
    from collections.abc import AsyncIterator, Awaitable
    from pathlib import Path

both_backends = pytest.mark.parametrize("backend", BACKENDS)


@both_backends
def test_a_tree_is_copied_and_both_sides_have_the_same_report(
    relay: str, tree: Path, tmp_path: Path, code: p2p.Code, backend: str
) -> None:
    reports: list[p2p.Report] = []

    async def main() -> None:
        async with p2p.AsyncClient(relay=relay) as client:

            async def receive() -> None:
                reports.append(await client.receive(tmp_path / "out", code=code))

            async with anyio.create_task_group() as group:
                group.start_soon(receive)
                reports.append(await client.send(tree, code=code))

    with nothing_stays():
        run(backend, main)
    assert [report.files for report in reports] == [8, 8]
    assert reports[0].root == reports[1].root
    assert len(os.listdir(tmp_path / "out" / "tree")) == 8


@both_backends
@pytest.mark.parametrize("answer", [True, False])
def test_a_program_compares_the_words(
    relay: str, tree: Path, tmp_path: Path, code: p2p.Code, backend: str, answer: bool
) -> None:
    seen: list[tuple[str, str]] = []
    ends: list[type] = []

    async def verify(words: tuple[str, str]) -> bool:
        assert sniffio.current_async_library() == backend
        seen.append(words)
        return answer

    def see(event: p2p.Event) -> None:
        if isinstance(event, p2p.Paired):
            seen.append(event.words)
            assert event.peer_verifies

    async def end(work: Awaitable[object]) -> None:
        try:
            ends.append(type(await work))
        except p2p.Declined as error:
            ends.append(type(error))

    async def main() -> None:
        async with p2p.AsyncClient(relay=relay) as client, anyio.create_task_group() as group:
            group.start_soon(end, client.receive(tmp_path / "out", code=code, on_event=see))
            group.start_soon(end, client.send(tree, code=code, verify=verify))

    with nothing_stays():
        run(backend, main)
    assert ends == [p2p.Report if answer else p2p.NotVerified] * 2
    assert len(set(seen)) == 1
    assert len(seen) == 2
    assert (tmp_path / "out" / "tree").exists() == answer


@both_backends
def test_a_program_follows_a_transfer_by_its_events_in_order(
    relay: str, tree: Path, tmp_path: Path, code: p2p.Code, backend: str
) -> None:
    sent: list[p2p.Event] = []
    received: list[p2p.Event] = []

    async def main() -> None:
        client = p2p.AsyncClient(relay=relay)  # without `async with`

        async def take(event: p2p.Event) -> None:
            assert sniffio.current_async_library() == backend
            received.append(event)

        async with anyio.create_task_group() as group:
            group.start_soon(partial(client.receive, tmp_path / "out", code=code, on_event=take))
            async with client.open_send(tree, code=code) as sending:
                with pytest.raises(RuntimeError, match="not over"):
                    _ = sending.report
                sent.extend([event async for event in sending.events()])
                assert sending.report.files == 8
                assert await sending.wait() == sending.report
                assert [event async for event in sending.events()] == []

    with nothing_stays():
        run(backend, main)
    for events in (sent, received):
        kinds = list(dict.fromkeys(type(event) for event in events))
        assert kinds[:4] == [p2p.Connecting, p2p.Waiting, p2p.Paired, p2p.Progress]
        last = [event for event in events if isinstance(event, p2p.Progress)][-1]
        assert (last.files, last.size) == (8, 2_400_000)
    assert type(sent[-1]) is p2p.Verifying


@both_backends
@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("answer", [True, False])
def test_the_receiver_may_be_asked(
    relay: str, tree: Path, tmp_path: Path, code: p2p.Code, backend: str, is_async: bool, answer: bool
) -> None:
    offers: list[p2p.TransferPreview] = []

    def accept(offer: p2p.TransferPreview) -> bool:
        offers.append(offer)
        return answer

    async def accept_later(offer: p2p.TransferPreview) -> bool:
        await anyio.sleep(0.01)
        return accept(offer)

    async def main() -> None:
        async with p2p.AsyncClient(relay=relay) as client, client.open_send(tree, code=code):
            receiving = client.receive(
                tmp_path / "out", code=code, accept=accept_later if is_async else accept
            )
            if answer:
                await receiving
            else:
                with pytest.raises(p2p.Declined):
                    await receiving

    run(backend, main)
    assert offers[0].files == 8
    assert (tmp_path / "out").exists() == answer


@both_backends
def test_a_report_names_what_was_not_delivered(
    relay: str, tree: Path, tmp_path: Path, code: p2p.Code, backend: str
) -> None:
    (tmp_path / "out" / "tree").mkdir(parents=True)
    (tmp_path / "out" / "tree" / "3").write_text("old")

    async def main() -> None:
        async with p2p.AsyncClient(relay=relay) as client, client.open_send([tree], code=code) as sending:
            received = await client.receive(tmp_path / "out", code=code, on_conflict="refuse")
            for report in (received, await sending.wait()):
                assert report.failed == 1
                (failure,) = report.failures
                assert failure.path.endswith("tree/3")
                assert "already exists" in failure.reason
                with pytest.raises(
                    p2p.PartialTransfer, match=r"1 of [0-9]+ files was not delivered"
                ) as caught:
                    report.raise_for_failures()
                assert caught.value.failures == report.failures

    run(backend, main)


@both_backends
def test_existing_files_are_treated_as_asked(
    relay: str, tree: Path, tmp_path: Path, code: p2p.Code, backend: str
) -> None:
    (tmp_path / "out" / "tree").mkdir(parents=True)
    (tmp_path / "out" / "tree" / "3").write_text("old")

    async def main() -> None:
        async with p2p.AsyncClient(relay=relay) as client, client.open_send(tree, code=code):
            report = await client.receive(tmp_path / "out", code=code, on_conflict="skip")
            report.raise_for_failures()
            assert report.skipped == 1

    run(backend, main)


@both_backends
def test_a_stream_is_sent_from_an_iterator_into_an_iterator(relay: str, code: p2p.Code, backend: str) -> None:
    pieces: list[bytes | bytearray] = [b"a", b"", bytes(5_000_000), bytearray(b"end")]
    received = bytearray()

    async def produce() -> AsyncIterator[bytes | bytearray]:
        for piece in pieces:
            assert sniffio.current_async_library() == backend
            yield piece

    async def main() -> None:
        async with (
            p2p.AsyncClient(relay=relay) as client,
            client.open_send_stream(produce(), code=code, name="rows.csv") as sending,
            client.open_receive_stream(code=code) as chunks,
        ):
            async for chunk in chunks:
                received.extend(chunk)
            assert chunks.report.size == len(received)
            await sending.wait()

    with nothing_stays():
        run(backend, main)
    assert bytes(received) == b"".join(pieces)


@both_backends
def test_a_stream_may_become_a_file(relay: str, tmp_path: Path, code: p2p.Code, backend: str) -> None:
    async def produce() -> AsyncIterator[bytes]:
        yield b"some rows"

    async def main() -> None:
        async with (
            p2p.AsyncClient(relay=relay) as client,
            client.open_send_stream(produce(), code=code, name="rows.csv"),
        ):
            await client.receive(tmp_path, code=code)

    run(backend, main)
    assert (tmp_path / "rows.csv").read_bytes() == b"some rows"


@both_backends
def test_a_saved_transfer_is_resumed_by_the_same_call(
    relay: str, tree: Path, large: Path, tmp_path: Path, code: p2p.Code, backend: str, gate: threading.Event
) -> None:
    states, out = tmp_path / "states", tmp_path / "out"
    resumed: list[p2p.Event] = []

    async def main() -> None:
        async with p2p.AsyncClient(relay=relay, state_dir=states) as client:
            receiving = partial(client.open_receive, out, code=code)
            async with client.open_send((tree, large), code=code) as sending:
                async with receiving() as first:
                    async for event in first.events():
                        if isinstance(event, p2p.Progress) and event.files:
                            break
                assert len(States(states).all()) == 2
                async with receiving() as second:
                    gate.set()
                    resumed.extend([event async for event in second.events()])
                assert (await sending.wait()).files == 9

    run(backend, main)
    assert p2p.Resumed in {type(event) for event in resumed}
    assert States(states).all() == []


@both_backends
def test_several_transfers_run_at_once(relay: str, tree: Path, tmp_path: Path, backend: str) -> None:
    async def main() -> None:
        async with p2p.AsyncClient(relay=relay) as client, anyio.create_task_group() as group:
            for number in range(4):
                code = p2p.Code.generate()
                group.start_soon(partial(client.send, tree, code=code))
                group.start_soon(partial(client.receive, tmp_path / str(number), code=code))

    with nothing_stays():
        run(backend, main)
    assert all(len(os.listdir(tmp_path / str(number) / "tree")) == 8 for number in range(4))


@both_backends
@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"code": "lab7-a long passphrase"}, TypeError),
        ({"paths": 7}, TypeError),
        ({"paths": "-"}, p2p.UsageError),
        ({"symlinks": "gaga"}, ValueError),
        ({"on_conflict": "skip"}, TypeError),
        ({"paths": "/does/not/exist"}, p2p.NothingToSend),
        ({"only": "["}, p2p.UsageError),
    ],
)
def test_a_wrong_argument_is_refused_at_once(
    relay: str, tree: Path, backend: str, given: dict[str, Any], kind: type[Exception]
) -> None:
    arguments = {"paths": tree, "code": p2p.Code.generate(), **given}
    paths = arguments.pop("paths")

    async def main() -> None:
        async with p2p.AsyncClient(relay=relay) as client:
            with pytest.raises(kind):
                await client.send(paths, **arguments)

    with nothing_stays():
        run(backend, main)


@both_backends
def test_a_cancelled_wait_for_a_chunk_loses_none(relay: str, code: p2p.Code, backend: str) -> None:
    pieces = [os.urandom(300_000) for _ in range(8)]
    received = bytearray()
    cancelled = 0

    async def produce() -> AsyncIterator[bytes]:
        for piece in pieces:
            await anyio.sleep(0.001)
            yield piece

    async def main() -> None:
        nonlocal cancelled
        async with (
            p2p.AsyncClient(relay=relay) as client,
            client.open_send_stream(produce(), code=code),
            client.open_receive_stream(code=code) as chunks,
        ):
            ended = False
            while not ended:
                chunk: bytes | None = None
                with anyio.move_on_after(0.003) as scope:
                    chunk = await anext(chunks, None)
                    ended = chunk is None
                cancelled += scope.cancelled_caught
                received.extend(chunk or b"")

    run(backend, main)
    assert bytes(received) == b"".join(pieces)
    assert cancelled
