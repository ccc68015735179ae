"""The client for programs with an event loop, Trio's or asyncio's."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple, Unpack

import trio

from p2p_copy.api.base import BaseClient
from p2p_copy.api.callers import open_caller
from p2p_copy.api.transfer import Transfer, TransferTask, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from os import PathLike
    from types import TracebackType
    from typing import Self

    from p2p_copy.api.callers import AsyncCaller
    from p2p_copy.api.keywords import ReceiveKeywords, ResumeKeywords, SendKeywords
    from p2p_copy.api.report import Report
    from p2p_copy.api.rooms import Rooms
    from p2p_copy.api.saved import SavedTransfer
    from p2p_copy.api.streams import IncomingStream
    from p2p_copy.api.transfer import OnEvent, Work
    from p2p_copy.api.work import Accept, AcceptDeletion, AcceptReplacement, Chunks, Out, Paths, Verify
    from p2p_copy.protocol.code import Code

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class AsyncClient(BaseClient):
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

    _caller: AsyncCaller | None = None
    _stack: AsyncExitStack

    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        self._caller = await self._stack.enter_async_context(open_caller())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._caller = None
        await self._stack.__aexit__(kind, error, trace)

    async def send(
        self,
        paths: Paths,
        *,
        code: Code,
        verify: Verify | None = None,
        on_event: OnEvent | None = None,
        **options: Unpack[SendKeywords],
    ) -> Report:
        """Send files and directories, and return when the receiver has confirmed all that it holds.

        Args:
            paths: a file or directory, or several; their last components are the names at the receiver.
            code: what both sides share.
            verify: is shown two words, and answers whether the receiver shows the same ones, before anything is sent;
                may be asynchronous. None to ask nothing; then `Paired` has the words all the same.
            on_event: is called with each `Event`, one after the other; may be asynchronous.
            options: see `SendOptions`.

        Raises:
            NotVerified: a user did not confirm that both sides show the same words.
            NothingToSend: none of the paths can be sent.
            UsageError, ValueError, TypeError: an argument cannot be used.
            P2PCopyError: the transfer failed; see `p2p_copy.errors`.
            Exception: what `verify` or `on_event` has raised.

        """
        async with self._open_caller() as caller:
            task = TransferTask(self._settings.send(paths, code, verify, options, caller), caller, on_event)
            return await caller.enter(task.run)

    async def receive(
        self,
        out: Out,
        *,
        code: Code,
        accept: Accept | None = None,
        verify: Verify | None = None,
        accept_deletion: AcceptDeletion | None = None,
        accept_replacement: AcceptReplacement | None = None,
        on_event: OnEvent | None = None,
        **options: Unpack[ReceiveKeywords],
    ) -> Report:
        """Receive into a directory, and return when all lies there, verified, and the sender knows.

        Args:
            out: the directory; made if it does not exist. Nothing is written outside of it. Or `Standard.OUTPUT`, for a
                stream or one file; if nothing reads that, a thread may wait there after the call, so it is for programs
                that end then.
            code: what both sides share.
            accept: is shown what the sender has, and answers whether to receive it, before anything is written; may be
                asynchronous. None to accept all.
            accept_deletion: is shown what the sender does not have, once everything has arrived, if `delete` is given;
                answers whether to delete it, in five minutes at most. None to delete it without a question.
            accept_replacement: is asked about each file that exists already, with `on_conflict="ask"`, by its escaped
                path: True to replace it, False to skip the new one. It is asked again after a lost connection.
            verify: is shown two words, and answers whether the sender shows the same ones, before anything is written;
                may be asynchronous. None to ask nothing; then `Paired` has the words all the same.
            on_event: is called with each `Event`, one after the other; may be asynchronous.
            options: see `ReceiveOptions`; `on_conflict` is its `conflict`.

        Raises:
            Declined: the answer was no.
            NotVerified: a user did not confirm that both sides show the same words.
            OutputNotWritable, NoSpace, TooMuch: `out` cannot, or shall not, take it.
            UsageError, ValueError, TypeError: an argument cannot be used.
            P2PCopyError: the transfer failed; see `p2p_copy.errors`.
            Exception: what `accept`, `verify` or `on_event` has raised.

        """
        async with self._open_caller() as caller:
            work = self._settings.receive(
                out, code, accept, verify, accept_deletion, accept_replacement, options, caller
            )
            task = TransferTask(work, caller, on_event)
            return await caller.enter(task.run)

    @asynccontextmanager
    async def open_send(
        self,
        paths: Paths,
        *,
        code: Code,
        verify: Verify | None = None,
        rooms: Rooms | None = None,
        **options: Unpack[SendKeywords],
    ) -> AsyncIterator[Transfer]:
        """Send beside the body of a block, which can follow it; see `send` and `Transfer`.

            async with client.open_send("results", code=code) as sending:
                async for event in sending.events():
                    print(event)
                report = sending.report

        `rooms` are those of a relay that serves this transfer only; see `Rooms`.
        """
        send = self._settings.send
        async with self._open(lambda caller: send(paths, code, verify, options, caller, rooms)) as transfer:
            yield transfer

    @asynccontextmanager
    async def open_receive(
        self,
        out: Out,
        *,
        code: Code,
        accept: Accept | None = None,
        verify: Verify | None = None,
        accept_deletion: AcceptDeletion | None = None,
        accept_replacement: AcceptReplacement | None = None,
        **options: Unpack[ReceiveKeywords],
    ) -> AsyncIterator[Transfer]:
        """Receive beside the body of a block, which can follow it; see `receive` and `Transfer`."""
        receive = self._settings.receive
        async with self._open(
            lambda caller: receive(
                out, code, accept, verify, accept_deletion, accept_replacement, options, caller
            )
        ) as transfer:
            yield transfer

    @asynccontextmanager
    async def open_send_stream(
        self,
        chunks: Chunks,
        *,
        code: Code,
        verify: Verify | None = None,
        rooms: Rooms | None = None,
        **options: Unpack[SendKeywords],
    ) -> AsyncIterator[Transfer]:
        """Send a stream of unknown length beside the body of a block; see `Transfer`.

            async with client.open_send_stream(rows(), code=code, name="rows.csv") as sending:
                report = await sending.wait()

        A stream cannot be resumed by another process, but does survive lost connections.

        Args:
            chunks: bytes-like objects of any length. They are asked for in the program's event loop, and at most a
                window of 64 MiB is read ahead of what the receiver has written. Or `Standard.INPUT`; if nothing comes
                there, a thread may wait for it after the call, so it is for programs that end then.
            code: what both sides share.
            verify: see `send`.
            rooms: see `open_send`.
            options: see `SendOptions`; `name` is what it is called at a receiver that makes a file of it.

        Raises:
            PipeFailed: the stream has ended early, or cannot be resumed.
            Exception: what `chunks` has raised; the receiver is told that this side failed.

        """
        send = self._settings.send_stream
        async with self._open(lambda caller: send(chunks, code, verify, options, caller, rooms)) as transfer:
            yield transfer

    @asynccontextmanager
    async def open_receive_stream(
        self,
        *,
        code: Code,
        accept: Accept | None = None,
        verify: Verify | None = None,
        **options: Unpack[ReceiveKeywords],
    ) -> AsyncIterator[IncomingStream]:
        """Receive a stream, or one file, as an async iterator of bytes; see `IncomingStream`.

        async with client.open_receive_stream(code=code) as chunks:
            async for chunk in chunks:
                digest.update(chunk)
        """
        from p2p_copy.api.streams import ChunkSink, IncomingStream

        async with self._open_caller() as caller:
            sink = ChunkSink()
            work = self._settings.receive_stream(lambda: sink, code, accept, verify, options, caller)
            task = TransferTask(work, caller)
            async with running(IncomingStream(caller, task, sink)) as stream:
                yield stream

    async def resume(
        self,
        id: str,  # noqa: A002
        *,
        code: Code | None = None,
        accept: Accept | None = None,
        verify: Verify | None = None,
        accept_deletion: AcceptDeletion | None = None,
        accept_replacement: AcceptReplacement | None = None,
        on_event: OnEvent | None = None,
        **options: Unpack[ResumeKeywords],
    ) -> Report:
        """Resume, or begin, a saved transfer, and return when it is over; see `send` and `receive`.

        It goes through the relay of this client; without one, through that with which the transfer was begun. The pin
        of that relay is saved, too, and counts unless this client has one.

            for each in await client.saved():
                if each.can_resume and not each.running:
                    await client.resume(each.id)

        Args:
            id: `SavedTransfer.id`.
            code: what both sides share; needed only if what is saved is not enough (`SavedTransfer.can_resume`).
            accept: see `receive`; it is not called if the transfer was accepted before, nor on the sender's side.
            accept_deletion: see `receive`.
            accept_replacement: see `receive`.
            verify: see `send`; it is needed if the transfer was begun with it (`SavedTransfer.verify`), and is called
                also if the words of an earlier run were confirmed.
            on_event: is called with each `Event`, one after the other; may be asynchronous.
            options: `receipt` and `links` in place of those with which it was begun, and `wait`, `patience` and
                `reverify`, which are not saved.

        Raises:
            UsageError: there is no such transfer, or it is running, or cannot be resumed without a code or `verify`.
            Exception: as `send` and `receive`.

        """
        async with self._open_caller() as caller:
            work = self._settings.resume(
                id, code, accept, verify, accept_deletion, accept_replacement, options, caller
            )
            task = TransferTask(work, caller, on_event)
            return await caller.enter(task.run)

    @asynccontextmanager
    async def open_resume(
        self,
        id: str,  # noqa: A002
        *,
        code: Code | None = None,
        accept: Accept | None = None,
        verify: Verify | None = None,
        accept_deletion: AcceptDeletion | None = None,
        accept_replacement: AcceptReplacement | None = None,
        **options: Unpack[ResumeKeywords],
    ) -> AsyncIterator[Transfer]:
        """Resume, or begin, a saved transfer beside the body of a block; see `resume` and `Transfer`."""
        resume = self._settings.resume
        async with self._open(
            lambda caller: resume(
                id, code, accept, verify, accept_deletion, accept_replacement, options, caller
            )
        ) as transfer:
            yield transfer

    async def saved(self, *, code: Code | None = None) -> tuple[SavedTransfer, ...]:
        """Return the transfers that are saved in `state_dir`, the one that changed last first.

        A transfer is removed there once it is complete, and also if it fails before there is anything to resume.

        Args:
            code: return only those that were begun with this code.

        Raises:
            UsageError: the client has no `state_dir`, or other users may write there.

        """
        return await self._in_thread(self._settings.saved_transfers().all, code)

    async def save_send(
        self,
        paths: Paths,
        *,
        code: Code | None = None,
        words: int | None = None,
        verify: bool = False,
        **options: Unpack[SendKeywords],
    ) -> SavedTransfer:
        """Save a transfer that sends, without beginning it: `resume` begins it, in this process or another one.

        If it is saved already, with the same paths and code, the options are those that are given now.

        Args:
            paths: a file or directory, or several.
            code: what both sides share; it is not written down, so `resume` must be given it, too, until both sides
                have met. None to save the transfer with a new code, or to find the one that was saved so before.
            words: how many words a new code has, `CODE_WORDS` unless told otherwise. A code that was saved before and
                has another number is replaced, unless both sides have met.
            verify: whether words are to be compared: then `resume` must be given `verify`.
            options: see `SendOptions`.

        Raises:
            NotSaved: it cannot be written to `state_dir`.
            UsageError, ValueError, TypeError: an argument cannot be used, or another process is running the transfer.

        """
        return await self._in_thread(self._settings.save_send, paths, code, words, verify, options)

    async def save_receive(
        self,
        out: str | PathLike[str],
        *,
        code: Code,
        verify: bool = False,
        **options: Unpack[ReceiveKeywords],
    ) -> SavedTransfer:
        """Save a transfer that receives, without beginning it; see `save_send`."""
        return await self._in_thread(self._settings.save_receive, out, code, verify, options)

    async def forget(self, id: str) -> None:  # noqa: A002
        """Forget a saved transfer, and remove its partial files. Complete files stay.

        To find partial files it searches all of the output directory.

        Raises:
            UsageError: there is no such transfer, or it is running.
            OutputNotWritable: it is forgotten, but its partial files could not be removed.

        """
        await self._in_thread(self._settings.saved_transfers().forget, id)

    async def _in_thread(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run a function that waits for files."""
        async with self._open_caller() as caller:
            return await caller.enter(trio.to_thread.run_sync, function, *args)

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
