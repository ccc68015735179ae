"""The client for programs with an event loop, Trio's or asyncio's."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Unpack

from p2p_copy.api.callers import open_caller
from p2p_copy.api.transfer import Transfer, TransferTask, running
from p2p_copy.api.work import ClientSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager
    from os import PathLike
    from types import TracebackType
    from typing import Self

    from p2p_copy.api.callers import AsyncCaller
    from p2p_copy.api.keywords import ReceiveKeywords, SendKeywords
    from p2p_copy.api.report import Report
    from p2p_copy.api.streams import Chunk, IncomingStream
    from p2p_copy.api.transfer import OnEvent, Work
    from p2p_copy.api.work import Accept, OpenState, Paths
    from p2p_copy.files.state.store import State
    from p2p_copy.observer import Ask
    from p2p_copy.options import ReceiveOptions, SendOptions
    from p2p_copy.protocol.code import Code


class AsyncClient:
    """Sends and receives through one relay, under Trio or asyncio; any number of transfers at once.

        async with p2p.AsyncClient(relay="wss://relay.example") as client:
            report = await client.send("results", code=code)

    Under Trio a transfer runs in the tasks of its caller. Under asyncio it runs in a thread of the client, which lasts
    as long as `async with`; a client that is used without it takes a thread for each call. Callbacks always run in the
    program's event loop.

    Cancelling a call ends its transfer, cleanly and within a second or so. It is not lost: the same call with the same
    code resumes it, for as long as the other side has `patience`, by what is on the receiver's disk, and quicker with a
    `state_dir`. An exception in a callback ends it for good, and the other side is told that this side failed.
    """

    def __init__(
        self,
        relay: str,
        *,
        token: str | None = None,
        ca_file: str | PathLike[str] | None = None,
        state_dir: str | PathLike[str] | None = None,
    ) -> None:
        """Remember how to reach the relay; nothing is opened yet.

        Args:
            relay: the address, ws:// or wss://.
            token: access token, for relays that want one.
            ca_file: PEM file with certificates to trust besides the system's.
            state_dir: where transfers are saved, so that another process can resume them; None to save none. It is made
                when it is needed, private to this user.

        Raises:
            TypeError: `ca_file` or `state_dir` is no path.

        """
        self._settings = ClientSettings(relay, token, ca_file, state_dir)
        self._caller: AsyncCaller | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._caller = await self._stack.enter_async_context(open_caller())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._caller = None
        await self._stack.__aexit__(kind, error, trace)

    async def send(
        self, paths: Paths, *, code: Code, on_event: OnEvent | None = None, **options: Unpack[SendKeywords]
    ) -> Report:
        """Send files and directories, and return when the receiver has confirmed all that it holds.

        Args:
            paths: a file or directory, or several; their last components are the names at the receiver.
            code: what both sides share.
            on_event: is called with each `Event`, one after the other; may be asynchronous.
            options: see `SendOptions`.

        Raises:
            NothingToSend: none of the paths can be sent.
            UsageError, ValueError, TypeError: an argument cannot be used.
            P2PCopyError: the transfer failed; see `p2p_copy.errors`.
            Exception: what `on_event` has raised.

        """
        async with self._open_caller() as caller:
            task = TransferTask(self._settings.send(paths, code, options), caller, on_event)
            return await caller.enter(task.run)

    async def receive(
        self,
        out: str | PathLike[str],
        *,
        code: Code,
        accept: Accept | None = None,
        on_event: OnEvent | None = None,
        **options: Unpack[ReceiveKeywords],
    ) -> Report:
        """Receive into a directory, and return when all lies there, verified, and the sender knows.

        Args:
            out: the directory; made if it does not exist. Nothing is written outside of it.
            code: what both sides share.
            accept: is shown what the sender has, and answers whether to receive it, before anything is written; may be
                asynchronous. None to accept all.
            on_event: is called with each `Event`, one after the other; may be asynchronous.
            options: see `ReceiveOptions`; `on_conflict` is its `conflict`.

        Raises:
            Declined: the answer was no.
            OutputNotWritable, NoSpace, TooMuch: `out` cannot, or shall not, take it.
            UsageError, ValueError, TypeError: an argument cannot be used.
            P2PCopyError: the transfer failed; see `p2p_copy.errors`.
            Exception: what `accept` or `on_event` has raised.

        """
        async with self._open_caller() as caller:
            task = TransferTask(self._settings.receive(out, code, accept, options, caller), caller, on_event)
            return await caller.enter(task.run)

    @asynccontextmanager
    async def open_send(
        self, paths: Paths, *, code: Code, **options: Unpack[SendKeywords]
    ) -> AsyncIterator[Transfer]:
        """Send beside the body of a block, which can follow it; see `send` and `Transfer`.

        async with client.open_send("results", code=code) as sending:
            async for event in sending.events():
                print(event)
            report = sending.report
        """
        work = self._settings.send(paths, code, options)
        async with self._open(lambda caller: work) as transfer:
            yield transfer

    @asynccontextmanager
    async def open_receive(
        self,
        out: str | PathLike[str],
        *,
        code: Code,
        accept: Accept | None = None,
        **options: Unpack[ReceiveKeywords],
    ) -> AsyncIterator[Transfer]:
        """Receive beside the body of a block, which can follow it; see `receive` and `Transfer`."""
        receive = self._settings.receive
        async with self._open(lambda caller: receive(out, code, accept, options, caller)) as transfer:
            yield transfer

    @asynccontextmanager
    async def open_send_stream(
        self, chunks: AsyncIterable[Chunk], *, code: Code, **options: Unpack[SendKeywords]
    ) -> AsyncIterator[Transfer]:
        """Send a stream of unknown length beside the body of a block; see `Transfer`.

            async with client.open_send_stream(rows(), code=code, name="rows.csv") as sending:
                report = await sending.wait()

        A stream cannot be resumed by another process, but does survive lost connections.

        Args:
            chunks: bytes-like objects of any length. They are asked for in the program's event loop, and at most a
                window of 64 MiB is read ahead of what the receiver has written.
            code: what both sides share.
            options: see `SendOptions`; `name` is what it is called at a receiver that makes a file of it.

        Raises:
            PipeFailed: the stream has ended early, or cannot be resumed.
            Exception: what `chunks` has raised; the receiver is told that this side failed.

        """
        send = self._settings.send_stream
        async with self._open(lambda caller: send(chunks, code, options, caller)) as transfer:
            yield transfer

    @asynccontextmanager
    async def open_receive_stream(
        self, *, code: Code, accept: Accept | None = None, **options: Unpack[ReceiveKeywords]
    ) -> AsyncIterator[IncomingStream]:
        """Receive a stream, or one file, as an async iterator of bytes; see `IncomingStream`.

        async with client.open_receive_stream(code=code) as chunks:
            async for chunk in chunks:
                digest.update(chunk)
        """
        from p2p_copy.api.streams import ChunkSink, IncomingStream

        async with self._open_caller() as caller:
            sink = ChunkSink()
            task = TransferTask(self._settings.receive_stream(sink, code, accept, options, caller), caller)
            async with running(IncomingStream(caller, task, sink)) as stream:
                yield stream

    # What the command line uses in place of `open_send` and `open_receive`. It opens saved states itself, because it
    # tells the user what it finds there, and it can do without a code, and with "-", the standard streams.

    def _open_saved_send(
        self,
        paths: Sequence[str],
        code: Code | None,
        options: SendOptions,
        state: State | None,
        on_room: Callable[[str], None] | None = None,
    ) -> AbstractAsyncContextManager[Transfer]:
        """Send beside the body of a block; for the arguments see `transfer.send.send`."""
        work = self._settings.send_saved(paths, code, options, _opened(state), on_room)
        return self._open(lambda caller: work)

    def _open_saved_receive(
        self, out: str, code: Code | None, options: ReceiveOptions, state: State | None, ask: Ask | None
    ) -> AbstractAsyncContextManager[Transfer]:
        """Receive beside the body of a block; for the arguments see `transfer.receive.receive`."""
        work = self._settings.receive_saved(out, code, options, _opened(state), ask)
        return self._open(lambda caller: work)

    @asynccontextmanager
    async def _open(self, work_for: Callable[[AsyncCaller], Work]) -> AsyncIterator[Transfer]:
        """Run a transfer beside the body of a block, given how to make its work for a caller."""
        async with (
            self._open_caller() as caller,
            running(Transfer(caller, TransferTask(work_for(caller), caller))) as transfer,
        ):
            yield transfer

    @asynccontextmanager
    async def _open_caller(self) -> AsyncIterator[AsyncCaller]:
        """Use the client's way to Trio, or one for this call if the client is used without `async with`."""
        if self._caller is not None:
            yield self._caller
        else:
            async with open_caller() as caller:
                yield caller


def _opened(state: State | None) -> OpenState:
    """Return a function that returns a state that is open already."""

    async def open_state() -> State | None:
        return state

    return open_state
